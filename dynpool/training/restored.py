"""The network that a training run has come to, from its folder alone: no data are needed."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .checkpoint import last_path, load, restore_model
from .config import RunConfig
from .config_file import load_config
from .errors import RunFolderError
from .methods import prepare
from .models import build_model

__all__ = ["restored_model"]

PROBE = 7  # classes of a network built to compare the shapes of its weights with those of the checkpoint


def restored_model(folder: Path) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network of a run with the weights and alphas of its last checkpoint, on the CPU; and its (C, H, W).

    Raises:
        ConfigError: config.yaml is missing or damaged, or names a model or method that is not known here.
        CheckpointError: its checkpoint is damaged or of another model.
        RunFolderError: there is no checkpoint yet, or config.yaml lacks the input size that a run writes down.
    """
    config, _ = load_config(RunConfig, folder / "config.yaml")
    if config.input_size is None:
        raise RunFolderError(f"{folder}: config.yaml has no input_size, so it is not that of a run that was begun")
    path = last_path(folder)
    try:
        checkpoint = load(path)
    except FileNotFoundError:
        raise RunFolderError(f"{folder} holds no checkpoint yet: {path} is missing") from None
    with torch.random.fork_rng(devices=[]):
        probe = build_model(config.model, num_classes=PROBE, in_channels=config.input_size[0])
        classes = _classes(probe, checkpoint.model)
        model = build_model(config.model, num_classes=classes, in_channels=config.input_size[0])
        model = prepare(model, config, config.input_size).model
    restore_model(model, checkpoint, path)
    return model, config.input_size


def _classes(probe: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """How many classes the network of these weights tells apart: the one size in which the probe's differ."""
    sizes = {
        weights[name].shape[0]
        for name, value in probe.state_dict().items()
        if value.ndim and value.shape[0] == PROBE and name in weights and weights[name].ndim
    }
    sizes.discard(PROBE)  # layers that have as many outputs anyway
    return sizes.pop() if len(sizes) == 1 else PROBE
