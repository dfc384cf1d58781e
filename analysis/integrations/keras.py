"""Models of Keras 3 on its torch backend (KERAS_BACKEND=torch), as PyTorch modules that take (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dynpool.common.extras import optional

with optional():
    import keras

__all__ = ["from_keras"]


class _Keras(nn.Module):
    """A Keras model as a module, with its layers as children under their Keras names."""

    def __init__(self, model: Any, channels_last: bool) -> None:
        super().__init__()
        self.channels_last = channels_last
        for name, layer in _layers(model):
            self.add_module(name, layer)
        self._model = [model]  # in a list, so that nn.Module does not register it as a child
        self.values = nn.ParameterList(variable.value for variable in model.variables)

    def forward(self, images: Tensor) -> Any:
        # Keras variables hold their own tensors: map them to the module's parameters, which a trace replaces.
        variables = self._model[0].variables
        with _Connected(), keras.StatelessScope(state_mapping=list(zip(variables, self.values, strict=True))):
            return self._model[0](images.movedim(1, -1) if self.channels_last else images, training=False)


class _Connected(TorchFunctionMode):
    """Keeps meta tensors on the meta device.

    Keras moves every tensor to its own device and replaces one without data by an empty one, which would break the
    trace.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = [*args[1:], *(kwargs or {}).values()]
        moves = len(settings) == 1 and isinstance(settings[0], (str, torch.device))
        if moves and func in (torch.empty_like, Tensor.to) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def from_keras(model: Any) -> nn.Module:
    """The Keras model as a module for analysis: `receptive_field(from_keras(model), (3, 224, 224))`.

    It shares the model's weights. It takes images of shape (N, C, H, W), and permutes them for channels-last models.
    Keras adds biases in a separate operation, so a layer's parameter count lacks its bias; the model's total has it.

    Args:
        model: a `keras.Model` with one input, built on Keras' torch backend.

    Raises:
        ValueError: if Keras runs on another backend, or `model` is not a `keras.Model`.
    """
    if keras.config.backend() != "torch":
        raise ValueError(
            f"Keras runs on {keras.config.backend()}; set KERAS_BACKEND=torch in the environment before importing it"
        )
    if not isinstance(model, keras.Model):
        raise ValueError(f"model must be a keras.Model, got {type(model).__name__}")
    formats = {layer.data_format for _, layer in _layers(model) if isinstance(getattr(layer, "data_format", None), str)}
    if len(formats) > 1:
        raise ValueError(f"the layers of {model.name} have different data formats: {', '.join(sorted(formats))}")
    return _Keras(model, (formats or {keras.config.image_data_format()}) == {"channels_last"})


def _layers(model: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """All layers with their names; those of a nested model are prefixed with its name and an underscore."""
    found: list[tuple[str, Any]] = []
    for layer in model.layers:
        inner = isinstance(layer, keras.Model)
        found += (
            _layers(layer, f"{prefix}{layer.name}_") if inner else [(f"{prefix}{layer.name}".replace(".", "_"), layer)]
        )
    return found
