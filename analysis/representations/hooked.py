"""A copy of a model that hands over the outputs of named layers, run by run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from dynpool.graph import deep_copy, untouched

__all__ = ["HookedModel"]


class HookedModel:
    """A copy in eval mode, whose passes call `receive(name of the run, path, output)` after each run of a layer.

    The name of a layer's first run in a pass is its path; further runs have "#2" and so on behind it, as in reports of
    receptive fields. The model itself stays as it is.

    Args:
        model: any model, also a converted or frozen one.
        names: paths of its layers.
        argument: what the images come from, for messages.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], argument: str) -> None:
        with untouched(model):
            self.model = deep_copy(model).eval()
        self.argument = argument
        self.device = next((t.device for t in chain(model.parameters(), model.buffers())), torch.device("cpu"))
        self.modules = dict(self.model.named_modules())
        self.runs: dict[str, int] = {}
        self.receive: Callable[[str, str, Any], object] = lambda name, path, output: None
        for name in names:
            self.modules[name].register_forward_hook(self._hook(name))

    def __call__(self, images: Tensor) -> Any:
        """The output of a pass without gradients.

        Args:
            images: (N, C, H, W).

        Raises:
            MemoryError: if the device has no memory left.
            ValueError: if the model cannot run on images of this size.
        """
        self.runs.clear()
        try:
            with torch.no_grad():
                return self.model(images.to(self.device))
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"no memory left on {self.device} for {len(images)} images: give smaller batches"
            ) from error
        except RuntimeError as error:
            size = "x".join(map(str, images.shape[1:]))
            raise ValueError(f"{self.argument}: the model cannot run on images of {size}: {error}") from error

    def _hook(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            number = self.runs[path] = self.runs.get(path, 0) + 1
            self.receive(path if number == 1 else f"{path}#{number}", path, output)

        return hook
