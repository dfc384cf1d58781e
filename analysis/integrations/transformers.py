"""I_min while Hugging Face's Trainer trains."""

from __future__ import annotations

from typing import Any

from .loop import LoopTracker
from .optional import optional

with optional("transformers", extra="transformers"):
    from transformers import TrainerCallback

__all__ = ["IMinCallback"]


class IMinCallback(LoopTracker, TrainerCallback):
    """Callback: Trainer(..., callbacks=[IMinCallback((3, 224, 224), "i_min.jsonl")]).

    Appends the I_min of the trained model to a file. Steps are the trainer's `global_step`. Only the first process
    writes; alphas are kept in bounds in all. The trainer's own reports are written before its callbacks are asked: for
    TensorBoard, give a `writer`. Arguments and errors: those of `dynpool.analysis.integrations.loop.LoopTracker`.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **others: Any) -> None:
        """Training begins."""
        self.start(model, state.global_step, log=state.is_world_process_zero)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """An optimiser step is done."""
        self.after_step(state.global_step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """An epoch is done."""
        self.after_epoch(state.global_step)
