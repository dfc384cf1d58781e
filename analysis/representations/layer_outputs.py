"""The outputs of named layers in one pass of a model, as matrices of one row per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynpool.common.names import nearest
from dynpool.graph import deep_copy, untouched

from .batches import device_of

__all__ = ["LayerOutputs"]


class LayerOutputs:
    """A copy of a model in eval mode that gives the outputs of some of its layers.

    Args:
        argument: name of the argument that the model is, for messages.
        model: any model, also a converted or frozen one; it stays as it is.
        layers: names of its layers; None: all convolutions and linear layers.
        layers_argument: name of the argument that `layers` is.
        pooled: whether maps (N, C, ...) become their means per channel (N, C), or are flattened.

    Raises:
        ValueError: if there is no layer of a name, a name occurs twice, or there is no layer at all.
        TypeError: if `layers` is not a list or tuple of names.
    """

    def __init__(
        self, argument: str, model: nn.Module, layers: Sequence[str] | None, layers_argument: str, *, pooled: bool
    ) -> None:
        with untouched(model):
            self.model = deep_copy(model).eval()
        self.argument, self.pooled = argument, pooled
        modules = {name: module for name, module in self.model.named_modules() if name}
        if layers is None:
            wanted = [n for n, m in modules.items() if isinstance(m, (nn.modules.conv._ConvNd, nn.Linear))]
            if not wanted:
                raise ValueError(
                    f"{argument}: the {type(model).__name__} has no convolution or linear layer; give {layers_argument}"
                )
        else:
            if not isinstance(layers, (list, tuple)) or not all(isinstance(name, str) for name in layers):
                raise TypeError(f"{layers_argument}={layers!r}: expected a list of names of layers")
            wanted = list(layers)
            if not wanted or len(set(wanted)) < len(wanted):
                raise ValueError(f"{layers_argument}={layers!r}: expected different names of layers, one or more")
        for name in wanted:
            if name not in modules:
                raise ValueError(f"{layers_argument}: {argument} has no layer {name!r}{nearest(name, modules)}")
            modules[name].register_forward_hook(self._hook(name))
        self.wanted = wanted
        self.device = device_of(self.model)
        self._found: dict[str, Tensor] = {}
        self._repeated: set[str] = set()

    def __call__(self, images: Tensor, batch: int) -> dict[str, Tensor]:
        """The outputs of all layers for a batch as float64 matrices (N, features), in order of execution.

        Args:
            images: (N, C, H, W).
            batch: the number of the batch, for messages.

        Raises:
            ValueError: if an output is not finite, or a layer did not run.
        """
        self._found = {}
        with torch.no_grad():
            self.model(images.to(self.device))
        for name, features in self._found.items():
            if not bool(torch.isfinite(features).all()):
                raise ValueError(
                    f"{self.argument}: the output of layer {name!r} has NaN or infinities in batch {batch}"
                )
            if len(features) != len(images):
                raise ValueError(
                    f"{self.argument}: the output of layer {name!r} has {len(features)} rows for {len(images)} images"
                )
        missing = [name for name in self.wanted if name not in self._found]
        if missing:
            raise ValueError(f"{self.argument}: {', '.join(map(repr, missing))} did not run in the forward pass")
        return self._found

    @property
    def notices(self) -> tuple[str, ...]:
        """What the outputs leave out."""
        return tuple(
            f"{self.argument}: {name!r} runs several times in a pass; its last output counts"
            for name in self.wanted
            if name in self._repeated
        )

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim < 2:
                raise ValueError(
                    f"{self.argument}: layer {name!r} gives a {type(output).__name__}, not a tensor "
                    "(N, features, ...): name a layer inside it or behind it"
                )
            if name in self._found:
                self._repeated.add(name)
            values = output.detach()
            if self.pooled and values.ndim > 2:
                features = values.flatten(2).mean(2, dtype=torch.float64)
            else:
                features = values.flatten(1).to(torch.float64, copy=True)  # layers behind it may write in place
            self._found[name] = features

        return keep
