"""Weights from a file into a model, whoever saved them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import dynpool

__all__ = ["load_weights", "read_state_dict"]

ENTRIES = ("state_dict", "model_state_dict", "model")  # where training programs keep the weights among other things
PREFIXES = ("module.", "_orig_mod.")  # what wrappers put before every name


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a file of `torch.save` or safetensors, on the CPU; no code in the file is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds no weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint is {path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged pickle raises depends on the damage
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ValueError(f"checkpoint is {path}, which cannot be read as weights: {reason}") from error
    for entry in ENTRIES:
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(
            f"checkpoint is {path}, which holds no weights: neither tensors by name nor an entry {' or '.join(ENTRIES)}"
        )
    state = {str(name): value for name, value in content.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def load_weights(model: nn.Module, path: Path, input_size: tuple[int, ...]) -> nn.Module:
    """The model with the weights in a file; a converted one, if the file holds learned sizes.

    Raises:
        FileNotFoundError, ValueError: of `read_state_dict`, or for weights of another model, naming what differs.
    """
    state = read_state_dict(path)
    if _differences(model, state):
        learned = _converted(model, input_size)
        if learned is not None and not _differences(learned, state):
            model = learned
    found = _differences(model, state)
    if found:
        raise ValueError(f"checkpoint is {path}, which is of another model: {'; '.join(found)}")
    model.load_state_dict(state)
    return model


def _converted(model: nn.Module, input_size: tuple[int, ...]) -> nn.Module | None:
    """The model with learned sizes, or None if it has nothing to learn."""
    try:
        return dynpool.convert(model, input_size)
    except ValueError:
        return None


def _differences(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """What of the weights does not fit the model, in a few words."""
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    found = [f"{word} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
             for word, names in (("missing", missing), ("unknown", unknown)) if names]  # fmt: skip
    return found + shapes[:3]
