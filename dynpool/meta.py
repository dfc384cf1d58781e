"""Run an ATen operation on the meta device: on tensors that have a shape and no contents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .nested import map_tensors, tensors_in
from .shortcuts import SHORTCUTS
from .stand_ins import STAND_INS, with_known_masks

__all__ = ["run_on_meta"]


def run_on_meta(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], own: set[int] | None = None) -> Any:
    """What `func` gives on the meta device: tensors without contents, of the shapes and strides it would give.

    What has real tensors alone runs for real, so that constants the pass makes (indices, masks) keep their values;
    `own` collects where those lie, and only they are written to; without it nothing runs for real.
    """
    tensors = tensors_in((args, kwargs))
    meta = any(t.is_meta for t in tensors)
    device = kwargs.get("device")
    if device is not None and (meta or torch.device(device).type != "cpu"):  # there is nothing to move from meta
        kwargs = {**kwargs, "device": torch.device("meta")}
    if own is not None and not meta and _may_write(func, tensors, own):
        out = func(*args, **kwargs)
        made = [t for t in tensors_in(out) if not t.is_meta]
        held = {t.untyped_storage().data_ptr() for t in tensors}
        own.update({t.untyped_storage().data_ptr() for t in made} - held)
        return out
    if not all(t.is_meta for t in tensors):
        args, kwargs = map_tensors(_to_meta, (args, kwargs))
    name = func._schema.name
    if name in STAND_INS:
        return STAND_INS[name](*args, **kwargs)
    if name in ("aten::index", "aten::_unsafe_index"):
        args = (args[0], with_known_masks(args[1]), *args[2:])
    shortcut = None if kwargs.keys() - {"approximate"} else SHORTCUTS.get(name)  # as gelu is asked to
    known = None if shortcut is None else shortcut(*args)
    return func(*args, **kwargs) if known is None else known


def _may_write(func: Any, tensors: list[Tensor], own: set[int]) -> bool:
    """Whether all that the operation may write to was made by the pass."""
    return not func._schema.is_mutable or all(t.untyped_storage().data_ptr() in own for t in tensors)


def _to_meta(t: Tensor) -> Tensor:
    return t if t.is_meta else t.to("meta")
