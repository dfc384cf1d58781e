"""I_min in a loop written with Hugging Face's accelerate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from torch import nn

from .loop import LoopTracker
from .scalars import scalars

__all__ = ["AcceleratedIMin"]


class AcceleratedIMin:
    """Logs a model's I_min to a file and to the accelerator's trackers; call `step()` after every `optimizer.step()`.

    Args:
        accelerator: the accelerator of the loop. Its trackers, if `init_trackers` was called, get every line as
            scalars. Only the main process writes.
        model: the model, before or after `accelerator.prepare`.
        input_size: (C, H, W) in pixels.
        path: the file of JSON lines to append to; its folder must exist.
        every: optimiser steps between two lines.
        options: `module`, `constrain`, `writer` of `dynpool.analysis.integrations.loop.LoopTracker`.

    Example:
        >>> i_min = AcceleratedIMin(accelerator, model, (3, 224, 224), "i_min.jsonl", every=100)  # doctest: +SKIP
        >>> for images, labels in batches:  # doctest: +SKIP
        ...     accelerator.backward(loss(model(images), labels))
        ...     optimizer.step()
        ...     i_min.step()
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        input_size: Sequence[int],
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        **options: Any,
    ) -> None:
        self.accelerator = accelerator
        self.steps = 0
        self._loop = LoopTracker(input_size, path, every=every, **options)
        unwrapped = accelerator.unwrap_model(model)
        self._send_to_trackers(self._loop.start(unwrapped, 0, log=accelerator.is_main_process))

    def step(self) -> dict[str, Any] | None:
        """Call after each optimiser step: the line written, or None. Accumulation steps do not count."""
        if self.accelerator.sync_gradients:
            self.steps += 1
        return self._send_to_trackers(self._loop.after_step(self.steps))

    def _send_to_trackers(self, record: dict[str, Any] | None) -> dict[str, Any] | None:
        if record is not None:
            self.accelerator.log(scalars(record), step=record["step"])
        return record
