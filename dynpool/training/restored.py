"""The network of a training run, restored from its folder without its data."""

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

PROBE = 7  # classes of a probe network, whose weights are compared in shape with those of the checkpoint


def restored_model(folder: Path) -> tuple[nn.Module, tuple[int, ...]]:
    """(network, input size) of a run, with the weights (averaged, if so) and alphas of its last checkpoint.

    Raises:
        ConfigError: if config.yaml is missing or damaged, or names an unknown model or method.
        CheckpointError: if its checkpoint is damaged or of another model.
        RunFolderError: if there is no checkpoint yet, or config.yaml has no input size.
    """
    config, _ = load_config(RunConfig, folder / "config.yaml")
    if config.input_size is None:
        raise RunFolderError(f"{folder}: config.yaml has no input_size, so the run was never started")
    path = last_path(folder)
    try:
        checkpoint = load(path)
    except FileNotFoundError:
        raise RunFolderError(f"{folder} has no checkpoint yet: {path} is missing") from None
    with torch.random.fork_rng(devices=[]):
        channels, task = config.input_size[0], config.task
        probe = build_model(config.model, num_classes=PROBE, in_channels=channels, task=task)
        classes = _classes(probe, checkpoint.trained)
        model = build_model(config.model, num_classes=classes, in_channels=channels, task=task)
        model = prepare(model, config, config.input_size).model
    restore_model(model, checkpoint, path, averaged=True)
    return model, config.input_size


def _classes(probe: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """The number of classes of a network with these weights: the one size in which they differ from the probe's."""
    sizes = {
        weights[name].shape[0]
        for name, value in probe.state_dict().items()
        if value.ndim and value.shape[0] == PROBE and name in weights and weights[name].ndim
    }
    sizes.discard(PROBE)  # layers that happen to have that many outputs
    return sizes.pop() if len(sizes) == 1 else PROBE
