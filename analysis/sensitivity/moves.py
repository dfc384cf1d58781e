"""The alphas at which one resolution has some pixels more or less and all other learned ones keep their sizes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from dynpool.resizers import LearnedResizer2d, as_pair
from dynpool.resolution import ResolutionTree
from dynpool.size_math import Pair, Size

from ..common.axis_names import axis_names

__all__ = ["Direction", "alphas_with", "directions", "moved", "pixels_per_alpha"]


@dataclass(frozen=True)
class Direction:
    """One number of an alpha, and the axes along which it changes the size of its resolution.

    Attributes:
        learned: the resolution's position among the learned ones of the tree.
        entry: the number's position in the alpha.
        axes: 0 for the height, 1 for the width; both if one number serves both.
    """

    learned: int
    entry: int
    axes: tuple[int, ...]

    @property
    def label(self) -> str:
        """The word "height", "width" or "both"."""
        return "both" if len(self.axes) == 2 else axis_names(2)[self.axes[0]]


def directions(tree: ResolutionTree, values: Sequence[Pair]) -> list[Direction]:
    """All directions in which sizes can move, parents first, the height before the width.

    Args:
        tree: the resolutions.
        values: the values of the alphas.
    """
    found = []
    for k, ((_, _, resizer), value) in enumerate(zip(tree.learned, values, strict=True)):
        for entry, column in enumerate(zip(*_jacobian(resizer, value), strict=True)):
            axes = tuple(axis for axis, change in enumerate(column) if change)
            if axes:
                found.append(Direction(k, entry, axes))
    return found


def _jacobian(resizer: LearnedResizer2d, value: Pair) -> list[list[float]]:
    """d stride / d alpha, one row per axis and one column per number of alpha."""
    alpha = torch.tensor(value[: resizer.shared_alpha().numel()], dtype=torch.float64)
    rows: list[list[float]] = torch.autograd.functional.jacobian(resizer.learned_strides, alpha).tolist()
    return rows


def pixels_per_alpha(tree: ResolutionTree, hw: Size, values: Sequence[Pair], direction: Direction) -> float:
    """d size / d alpha of a direction, of the size without rounding: -H / stride^2 * d stride / d alpha (Eq. 4).

    The mean over both axes if one number serves both.

    Args:
        tree: the resolutions.
        hw: (height, width) of the input in pixels.
        values: the values of the alphas.
        direction: the resolution and the number of its alpha.
    """
    index, _, resizer = tree.learned[direction.learned]
    value = values[direction.learned]
    above, strides, jacobian = (
        tree.resizer_input_size(index, hw, values),
        resizer.strides(value),
        _jacobian(resizer, value),
    )
    factor = tree.factors_at(hw, values).get(type(resizer), (1.0, 1.0))
    return statistics.fmean(
        -above[axis] * factor[axis] / strides[axis] ** 2 * jacobian[axis][direction.entry] for axis in direction.axes
    )


def moved(size: Size, direction: Direction, step: int) -> Size:
    """The size with `step` pixels more along the axes of a direction."""
    return tuple(n + step * (axis in direction.axes) for axis, n in enumerate(size))  # type: ignore[return-value]


def alphas_with(tree: ResolutionTree, hw: Size, values: Sequence[Pair], sizes: Mapping[int, Size]) -> list[Pair]:
    """The values of all alphas at which the learned resolutions have the given sizes.

    An alpha that already gives its size keeps its value.

    Args:
        tree: the resolutions.
        hw: (height, width) of the input in pixels.
        values: the present values of the alphas.
        sizes: the wanted (height, width) in pixels of every learned resolution, by its index in the tree.

    Raises:
        ValueError: if there are none within the bounds; the message gives the reason.
    """
    found = list(values)
    for k, (i, rule, resizer) in enumerate(tree.learned):  # parents first
        name, (height, width) = tree.nodes[i].name, sizes[i]
        if tree.sizes_at(hw, found)[i] == sizes[i]:
            continue
        if min(height, width) < 1:
            raise ValueError(f"{name} would have {height}x{width} pixels")
        if rule.admit(sizes[i]) != sizes[i]:
            raise ValueError(f"{name} must be {rule.admitted()}")
        wanted = resizer.values_for(tree.resizer_input_size(i, hw, found), sizes[i])
        found[k] = as_pair(wanted, f"{name}: alpha={wanted} is not finite")
        if as_pair(resizer.project(found[k], found[k], None), "") != found[k]:
            low, high = resizer.bounds
            raise ValueError(
                f"{name} at {height}x{width} pixels would leave the bounds of its scale factor, {low:.4g} to {high:.4g}"
            )
    pixels = tree.sizes_at(hw, found)
    for i, (height, width) in sizes.items():
        if pixels[i] != (height, width):
            got = f"{pixels[i][0]}x{pixels[i][1]}"
            raise ValueError(f"{tree.nodes[i].name} would have {got} pixels, not {height}x{width}")
    return found
