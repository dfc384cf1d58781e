"""Models of Keras 3 on its torch backend (KERAS_BACKEND=torch), as PyTorch modules that take (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .optional import optional

with optional("keras", extra="keras"):
    import keras

__all__ = ["from_keras"]


class _Keras(nn.Module):
    """The model, its layers under the names that Keras gives them."""

    def __init__(self, model: Any, channels_last: bool) -> None:
        super().__init__()
        self.channels_last = channels_last
        for name, layer in _layers(model):
            self.add_module(name, layer)
        self._run = [model]  # in a list: registered as a module, it would take the layers' names
        self.values = nn.ParameterList(variable.value for variable in model.variables)

    def forward(self, images: Tensor) -> Any:
        # Keras' variables keep tensors of their own: they are told to use the module's, which a trace replaces.
        variables = self._run[0].variables
        with _Connected(), keras.StatelessScope(state_mapping=list(zip(variables, self.values, strict=True))):
            return self._run[0](images.movedim(1, -1) if self.channels_last else images, training=False)


class _Connected(TorchFunctionMode):
    """Meta tensors stay where they are.

    Keras moves every tensor to its own device, where it puts an empty one in the place of one without data: that would
    cut the trace.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = [*args[1:], *(kwargs or {}).values()]
        moves = len(settings) == 1 and isinstance(settings[0], (str, torch.device))
        if moves and func in (torch.empty_like, Tensor.to) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def from_keras(model: Any) -> nn.Module:
    """The Keras model as a module to analyse: `receptive_field(from_keras(model), (3, 224, 224))`.

    It shares the model's weights. Images come in as (N, C, H, W) and are turned where the model wants channels last.
    Keras adds a bias by an operation of its own: the parameters of a layer are counted without it, the model's with it.

    Args:
        model: a `keras.Model` with one input, built while Keras ran on torch.

    Raises:
        ValueError: if Keras runs on another backend, or `model` is not one of its models.
    """
    if keras.config.backend() != "torch":
        raise ValueError(
            f"Keras runs on {keras.config.backend()}: set KERAS_BACKEND=torch in the environment before importing it"
        )
    if not isinstance(model, keras.Model):
        raise ValueError(f"model must be a keras.Model, got {type(model).__name__}")
    formats = {layer.data_format for _, layer in _layers(model) if isinstance(getattr(layer, "data_format", None), str)}
    if len(formats) > 1:
        raise ValueError(f"the layers of {model.name} disagree on where the channels are: {', '.join(sorted(formats))}")
    return _Keras(model, (formats or {keras.config.image_data_format()}) == {"channels_last"})


def _layers(model: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """All layers with their names; those of a model inside of the model follow its own name and an underscore."""
    found: list[tuple[str, Any]] = []
    for layer in model.layers:
        inner = isinstance(layer, keras.Model)
        found += (
            _layers(layer, f"{prefix}{layer.name}_") if inner else [(f"{prefix}{layer.name}".replace(".", "_"), layer)]
        )
    return found
