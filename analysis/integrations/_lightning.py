"""The hooks of Lightning, whichever of its two packages calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .loop import LoopTracker
from .scalars import scalars

__all__ = ["LightningHooks"]


class LightningHooks(LoopTracker):
    """Appends a model's I_min to a file, and to the trainer's loggers, while Lightning trains it.

    Steps are the trainer's `global_step`. Where the LightningModule's forward cannot take a batch of images alone,
    name the network inside of it with `module`. Only the first process writes; alphas are kept in bounds in all.
    Arguments and errors: those of `dynpool.analysis.integrations.loop.LoopTracker`.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins."""
        _pass_on(trainer, self.start(pl_module, trainer.global_step, log=trainer.is_global_zero))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A batch is done."""
        _pass_on(trainer, self.after_step(trainer.global_step))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch is done."""
        _pass_on(trainer, self.after_epoch(trainer.global_step))


def _pass_on(trainer: Any, record: Mapping[str, Any] | None) -> None:
    if record is not None:
        for logger in trainer.loggers:
            logger.log_metrics(scalars(record), record["step"])
