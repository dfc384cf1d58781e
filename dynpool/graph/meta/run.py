"""Run an ATen operation on the meta device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .aliasing import aliasing
from .arguments import bind
from .containers import map_tensors, tensors_in
from .data_dependent import STAND_INS, with_known_masks
from .fast_shapes import FITS, SHORTCUTS

__all__ = ["Constants", "run_on_meta"]


class Constants:
    """The real tensors that a pass has made, such as indices: known until unknown data is written to them.

    `made` are the ids of their storages, `lost` those whose content is no longer known.
    """

    def __init__(self) -> None:
        self.made: set[int] = set()
        self.lost: set[int] = set()

    def known(self, t: Tensor) -> bool:
        """Whether the tensor has the values of a real pass."""
        return not t.is_meta and (not self.lost or _place(t) not in self.lost)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        new = {_place(t) for t in tensors_in(out)} - {_place(t) for t in tensors_in((args, kwargs))}
        self.made |= new
        self.lost -= new
        return out


def run_on_meta(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], constants: Constants | None = None, *, strict: bool = True
) -> Any:
    """The result of `func` on the meta device: tensors of the right shapes and strides, without data.

    Operations whose inputs are all known `constants` run for real and may write to them; all others do not. Unless
    `strict`, a map that has outgrown the weights of a layer (a `Linear` behind a flattened map) is passed on all the
    same, so that a model for one size can be looked at in another one.
    """
    tensors = tensors_in((args, kwargs))
    meta = any(t.is_meta for t in tensors)
    device = kwargs.get("device")
    if device is not None and (meta or torch.device(device).type != "cpu"):  # there is nothing to move from meta
        kwargs = {**kwargs, "device": torch.device("meta")}
    written = _written(func, args, kwargs)
    if constants is not None:
        if all(map(constants.known, tensors)) and all(_place(t) in constants.made for t in written):
            return constants.run(func, args, kwargs)
        constants.lost.update(_place(t) for t in written if not t.is_meta)
    if not all(t.is_meta for t in tensors):
        args, kwargs = map_tensors(_to_meta, (args, kwargs))
    name = func._schema.name
    if name in STAND_INS:
        return STAND_INS[name](*args, **kwargs)
    if name in ("aten::index", "aten::_unsafe_index"):
        args = (args[0], with_known_masks(args[1]), *args[2:])
    shortcut = None if kwargs.keys() - {"approximate"} else SHORTCUTS.get(name)  # as gelu is asked to
    if strict and shortcut is not None and name in FITS and not FITS[name](*args):
        shortcut = None
    known = None if shortcut is None else shortcut(*args)
    out = func(*args, **kwargs) if known is None else known
    if name == "aten::convolution" and 0 in out.shape[2:] and 0 not in args[0].shape[2:]:
        # on the meta device torch 2.11 checks one axis only, and no version a transposed convolution
        sizes = tuple(args[0].shape[2:]), tuple(out.shape[2:])
        raise RuntimeError(
            f"Given input size per channel: {sizes[0]}. Calculated output size per channel: {sizes[1]}. Output size is "
            "too small"
        )
    return out


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The arguments that the operation writes to."""
    targets = aliasing(func).targets
    named = bind(func, args, kwargs) if targets else {}
    return [named[target] for target in targets if isinstance(named[target], Tensor)]


def _place(t: Tensor) -> int:
    return t.untyped_storage().data_ptr()


def _to_meta(t: Tensor) -> Tensor:
    return t if t.is_meta else t.to("meta")
