"""Sizes of all axis classes, computed from the size of the input through every resize."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .axes import Axes, Extent, Resize

__all__ = ["propagate"]


def propagate(
    axes: Axes,
    sizes: dict[int, Extent],
    output: Callable[[Resize, tuple[Extent, ...]], Iterable[Extent | None]],
    assign: Callable[[dict[int, Extent], int, Extent], object],
) -> dict[int, Extent]:
    """Sizes of all classes, keyed by `classes.find`: in pixels, as arrays (elementwise), or without rounding.

    Args:
        axes: the classes and resizes.
        sizes: those of the input; the others are added.
        output: `output(resize, size)` returns the output size of a resize, such as (H, W); None where it is not known.
            An input that no known class determines has its size at tracing.
        assign: `assign(sizes, class, size)` is called with the size that a resize gives a class, which may have one.
    """
    classes = axes.classes
    for resize in axes.resizes:
        if resize.given:
            continue
        ends = zip(resize.source, resize.in_size, strict=True)
        size = tuple([classes.extent(axis, traced, sizes) for axis, traced in ends])
        for axis, traced, n in zip(resize.target, resize.out_size, output(resize, size), strict=True):
            if axis is not None and n is not None:
                assign(sizes, classes.find(axis), n - (traced - classes.reference(axis)))
    for axis in classes.derived():
        classes.size(axis, sizes)
    return sizes
