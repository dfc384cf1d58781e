"""The callback hooks shared by both of Lightning's packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .loop import LoopTracker
from .scalars import scalars

__all__ = ["LightningHooks"]


class LightningHooks(LoopTracker):
    """Appends a model's I_min to a file and sends it to the trainer's loggers during training with Lightning.

    Steps are the trainer's `global_step`. If the LightningModule's forward takes more than a batch of images, name the
    network inside it with `module`. Only the main process writes; all processes keep the alphas in bounds.
    Arguments and errors: those of `dynpool.analysis.integrations.loop.LoopTracker`.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start logging when training begins."""
        _send_to_loggers(trainer, self.start(pl_module, trainer.global_step, log=trainer.is_global_zero))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Constrain the alphas, and log if a line is due, after each optimiser step."""
        _send_to_loggers(trainer, self.after_step(trainer.global_step))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log if lines are written by epoch."""
        _send_to_loggers(trainer, self.after_epoch(trainer.global_step))


def _send_to_loggers(trainer: Any, record: Mapping[str, Any] | None) -> None:
    if record is not None:
        for logger in trainer.loggers:
            logger.log_metrics(scalars(record), record["step"])
