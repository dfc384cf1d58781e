"""`LoopTracker`: the base of callbacks that run an `IMinTracker` in another library's training loop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import nn

from dynpool.common.names import nearest
from dynpool.graph import check_input_size
from dynpool.resolution import constrain

from ..tracking import IMinTracker
from .tensorboard import ScalarWriter, write_scalars

__all__ = ["LoopTracker", "unwrapped"]


class LoopTracker:
    """Logs a model's I_min when training begins and then every epoch, or every `every` optimiser steps.

    It also calls `dynpool.constrain` after every step, in every process, which such loops do not do themselves.

    Args:
        input_size: (C, H, W) in pixels.
        path: the file of JSON lines to append to; its folder must exist.
        every: optimiser steps between two lines; None: one line per epoch.
        module: path of the submodule to log, such as "backbone"; "": the whole model.
        constrain: whether to keep the alphas in bounds.
        writer: a TensorBoard SummaryWriter or similar that also gets every line as scalars.

    Raises:
        ValueError: for a bad `input_size`, or `every` below 1.
    """

    def __init__(
        self,
        input_size: Sequence[int],
        path: str | os.PathLike[str],
        *,
        every: int | None = None,
        module: str = "",
        constrain: bool = True,
        writer: ScalarWriter | None = None,
    ) -> None:
        super().__init__()
        if every is not None and every < 1:
            raise ValueError(f"every must be None or at least 1 step, got {every}")
        self.input_size = check_input_size(input_size)
        self.path = path
        self.every = every
        self.module = module
        self.constrain = constrain
        self.writer = writer
        self._model: nn.Module | None = None
        self._tracker: IMinTracker | None = None
        self._step: int | None = None  # of the last optimiser step seen

    def start(self, model: nn.Module, step: int, *, log: bool) -> dict[str, Any] | None:
        """Call when training begins: the line of the initial state, or None in a process that does not log."""
        self._model = _submodule(unwrapped(model), self.module)
        self._tracker = IMinTracker(self._model, self.input_size, self.path) if log else None
        self._step = step
        return self._log(step)

    def after_step(self, step: int) -> dict[str, Any] | None:
        """Call after optimiser step number `step`: the line written, or None if none was due."""
        if step == self._step:  # only gradients were accumulated
            return None
        self._step = step
        if self.constrain and self._model is not None:
            constrain(self._model)
        return self._log(step) if self.every is not None and step % self.every == 0 else None

    def after_epoch(self, step: int) -> dict[str, Any] | None:
        """Call after each epoch: the line written, or None if lines are written by step."""
        return self._log(step) if self.every is None else None

    def _log(self, step: int) -> dict[str, Any] | None:
        if self._tracker is None:
            return None
        record = self._tracker.log(step)
        if self.writer is not None:
            write_scalars(self.writer, record)
        return record


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without the wrappers of `torch.compile` and data-parallel training."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def _submodule(model: nn.Module, path: str) -> nn.Module:
    names = dict(model.named_modules())
    if path not in names:
        raise ValueError(f"{type(model).__name__} has no module {path!r}{nearest(path, names)}")
    return names[path]
