"""Sizes that compiled code reads at run time, instead of being compiled for each of them.

torch.compile treats numbers stored on a module as constants and would recompile for every size. The dimensions of a
tensor marked as dynamic are symbols, so a size is stored as the shape of a meta tensor. The tensor must not be kept on
a module, where shapes are constants too, so it is kept globally under a key. Keys are attributes of one object: the
compiler looks an attribute up by itself, while it walks through the whole of a dict, which fails when a model that is
no longer used is garbage collected at that moment.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import _disable_current_modes

from dynpool.size_math import Size

__all__ = ["OpenSizes", "open_size"]

_extents = SimpleNamespace()  # meta tensors whose shapes are the sizes, by key, of all existing models
_keys = count()


class OpenSizes:
    """The sizes in pixels of the resolutions of one model.

    Attributes:
        keys: the keys of the sizes for :func:`open_size`. A copy has its own keys.
    """

    def __init__(self, sizes: Sequence[Size]) -> None:
        self.keys = [f"size_{next(_keys)}" for _ in sizes]
        self._sizes = list(sizes)
        for key, size in zip(self.keys, sizes, strict=True):
            extent = torch.empty(size, device="meta")
            torch._dynamo.maybe_mark_dynamic(extent, list(range(len(size))))
            setattr(_extents, key, extent)
        weakref.finalize(self, _forget, self.keys)

    def fill(self, sizes: Sequence[Size | None]) -> None:
        """Set the sizes of the next pass, except those that are None."""
        changed = {k: size for k, size in enumerate(sizes) if size is not None and size != self._sizes[k]}
        if not changed:
            return
        with torch._C._DisableFuncTorch(), _disable_current_modes():  # not part of a transformation
            for k, size in changed.items():
                getattr(_extents, self.keys[k]).resize_(size)
                self._sizes[k] = size

    def __reduce__(self) -> tuple[type[OpenSizes], tuple[list[Size]]]:
        return OpenSizes, (self._sizes,)


def open_size(key: str) -> Size:
    """The size with the given key; symbols under torch.compile."""
    return tuple(getattr(_extents, key).shape)


def _forget(keys: Sequence[str]) -> None:
    for key in keys:
        delattr(_extents, key)
