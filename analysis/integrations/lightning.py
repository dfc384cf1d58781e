"""I_min during training with Lightning (`import lightning`)."""

from __future__ import annotations

from dynpool.common.extras import optional

from ._lightning import LightningHooks

with optional():
    from lightning.pytorch.callbacks import Callback

__all__ = ["IMinCallback"]


class IMinCallback(LightningHooks, Callback):
    """Callback: Trainer(callbacks=[IMinCallback((3, 224, 224), "i_min.jsonl")])."""

    __doc__ = f"{__doc__}\n\n    {LightningHooks.__doc__}"
