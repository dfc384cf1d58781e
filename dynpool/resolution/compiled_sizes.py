"""Sizes that compiled code takes as they are when it runs, instead of being compiled for them.

To torch.compile a number that it finds on a module is a constant: it would compile anew for every size. The dimensions
of a tensor that is marked as dynamic are symbols, so here a size is the shape of a tensor without values. Nor must that
tensor be found on a module, where shapes are constants too: hence a table outside, and a number as the key to it.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from dynpool.size_math import Size

__all__ = ["OpenSizes", "open_size"]

_extents: dict[int, Tensor] = {}  # those of every model that lives
_keys = count()


class OpenSizes:
    """The sizes (height, width) in pixels of the resolutions of one model.

    Attributes:
        keys: under which :func:`open_size` finds each. A copy has keys of its own.
    """

    def __init__(self, sizes: Sequence[Size]) -> None:
        self.keys = [next(_keys) for _ in sizes]
        self._sizes = list(sizes)
        for key, size in zip(self.keys, sizes, strict=True):
            extent = torch.empty(size, device="meta")
            torch._dynamo.maybe_mark_dynamic(extent, [0, 1])
            _extents[key] = extent
        weakref.finalize(self, _forget, self.keys)

    def fill(self, sizes: Sequence[Size | None]) -> None:
        """Take note of the sizes of the next pass, but of those that are None."""
        changed = {k: size for k, size in enumerate(sizes) if size is not None and size != self._sizes[k]}
        if not changed:
            return
        with torch._C._DisableFuncTorch(), _disable_current_modes():  # they are no part of what is transformed
            for k, size in changed.items():
                _extents[self.keys[k]].resize_(size)
                self._sizes[k] = size

    def __reduce__(self) -> tuple[type[OpenSizes], tuple[list[Size]]]:
        return OpenSizes, (self._sizes,)


def open_size(key: int) -> Size:
    """The size by its key; two symbols to torch.compile."""
    height, width = _extents[key].shape
    return height, width


def _forget(keys: Sequence[int]) -> None:
    for key in keys:
        _extents.pop(key, None)
