"""I_min during training with Hugging Face's Trainer."""

from __future__ import annotations

from typing import Any

from dynpool.common.extras import optional

from .loop import LoopTracker

with optional():
    from transformers import TrainerCallback

__all__ = ["IMinCallback"]


class IMinCallback(LoopTracker, TrainerCallback):
    """Callback: Trainer(..., callbacks=[IMinCallback((3, 224, 224), "i_min.jsonl")]).

    Appends the I_min of the trained model to a file. Steps are the trainer's `global_step`. Only the main process
    writes; all processes keep the alphas in bounds. The trainer writes its own logs before it calls its callbacks, so
    TensorBoard needs a `writer` of its own. Arguments and errors: those of
    `dynpool.analysis.integrations.loop.LoopTracker`.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **others: Any) -> None:
        """Start logging when training begins."""
        self.start(model, state.global_step, log=state.is_world_process_zero)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Constrain the alphas, and log if a line is due, after each optimiser step."""
        self.after_step(state.global_step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Log if lines are written by epoch."""
        self.after_epoch(state.global_step)
