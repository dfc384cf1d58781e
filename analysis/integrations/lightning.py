"""I_min during training with Lightning (`import lightning`)."""

from __future__ import annotations

from ._lightning import LightningHooks
from .optional import optional

with optional("lightning", extra="lightning"):
    from lightning.pytorch.callbacks import Callback

__all__ = ["IMinCallback"]


class IMinCallback(LightningHooks, Callback):
    """Callback: Trainer(callbacks=[IMinCallback((3, 224, 224), "i_min.jsonl")])."""

    __doc__ = f"{__doc__}\n\n    {LightningHooks.__doc__}"
