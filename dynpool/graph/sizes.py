"""Sizes of all axis classes, computed from the size of the input through every resize."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dynpool.size_math import Whole

from .axes import Axes, Resize
from .dims import Dim

__all__ = ["propagate"]


def propagate(
    axes: Axes,
    image: Sequence[Dim],
    hw: Sequence[Whole],
    output: Callable[[Resize, tuple[Whole, Whole]], Sequence[Whole]],
    meet: Callable[[dict[int, Whole], int, Whole], None],
) -> dict[int, Whole]:
    """Sizes by `classes.find(class)`, in pixels, or integer arrays of them, which go elementwise.

    Args:
        axes: the classes and resizes.
        image: height and width of the input as dimensions.
        hw: their sizes.
        output: `output(resize, (H, W))` returns the output size of a resize.
        meet: `meet(sizes, class, size)` is called with the size that a resize gives a class; it may have one already.
    """
    classes = axes.classes
    sizes = {classes.find(dim.axis): n for dim, n in zip(image, hw, strict=True) if dim.axis is not None}
    for resize in axes.resizes:
        if resize.given:
            continue
        h, w = (classes.extent(axis, traced, sizes) for axis, traced in zip(resize.source, resize.in_size, strict=True))
        for axis, traced, n in zip(resize.target, resize.out_size, output(resize, (h, w)), strict=True):
            if axis is not None:
                meet(sizes, classes.find(axis), n - (traced - classes.reference(axis)))
    for axis in classes.defined():
        classes.size(axis, sizes)
    return sizes
