"""The outputs of named layers in one pass of a model, as matrices of one row per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .hooked import HookedModel
from .layer_names import layer_names

__all__ = ["LayerOutputs"]


class LayerOutputs:
    """A copy of a model in eval mode that gives the outputs of some of its layers.

    Args:
        argument: name of the argument that the model is, for messages.
        model: any model, also a converted or frozen one; it stays as it is.
        layers: names of its layers; None: all convolutions and linear layers that run.
        layers_argument: name of the argument that `layers` is.
        pooled: whether maps (N, C, ...) become their means per channel (N, C), or are flattened.

    Raises:
        ValueError: if there is no layer of a name, or no layer at all.
        TypeError: if `layers` is not a list of names.
    """

    def __init__(
        self, argument: str, model: nn.Module, layers: Sequence[str] | None, layers_argument: str, *, pooled: bool
    ) -> None:
        self.argument, self.pooled = argument, pooled
        self.wanted = layer_names(model, layers, layers_argument)
        self.required = self.wanted if layers is not None else []
        self._hooked = HookedModel(model, self.wanted, "batches")
        self._hooked.receive = self._keep
        self._found: dict[str, Tensor] = {}

    def __call__(self, images: Tensor, batch: int) -> dict[str, Tensor]:
        """The outputs of all layers for a batch as float64 matrices (N, features), in order of execution.

        A layer that runs several times has several outputs, from the second on with "#2" and so on behind its name.

        Args:
            images: (N, C, H, W).
            batch: the number of the batch, for messages.

        Raises:
            ValueError: if an output is not finite, a layer did not run, or the model cannot run on the images.
            MemoryError: if the device has no memory left.
        """
        self._found = {}
        self._hooked(images)
        for name, features in self._found.items():
            if not bool(torch.isfinite(features).all()):
                raise ValueError(
                    f"{self.argument}: the output of layer {name!r} has NaN or infinities in batch {batch}"
                )
            if len(features) != len(images):
                raise ValueError(
                    f"{self.argument}: the output of layer {name!r} has {len(features)} rows for {len(images)} images"
                )
        missing = [name for name in self.required if name not in self._found]
        if missing:
            raise ValueError(f"{self.argument}: {', '.join(map(repr, missing))} did not run in the forward pass")
        return self._found

    def _keep(self, name: str, path: str, output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim < 2:
            raise ValueError(
                f"{self.argument}: layer {name!r} gives a {type(output).__name__}, not a tensor "
                "(N, features, ...): name a layer inside it or behind it"
            )
        values = output.detach()
        if self.pooled and values.ndim > 2:
            features = values.flatten(2).mean(2, dtype=torch.float64)
        else:
            features = values.flatten(1).to(torch.float64, copy=True)  # layers behind it may write in place
        self._found[name] = features
