"""The alphas at which one resolution has some pixels more or less and all other learned ones keep their sizes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dynpool.resizers import LearnedResizer, as_float32
from dynpool.resolution import ResolutionTree
from dynpool.size_math import PerAxis, Size

from ..common.axis_names import axis_names

__all__ = ["Direction", "alphas_with", "directions", "moved", "pixels_per_alpha"]


@dataclass(frozen=True)
class Direction:
    """One number of an alpha, and the axes along which it changes the size of its resolution.

    Attributes:
        learned: the resolution's position among the learned ones of the tree.
        entry: the number's position in the alpha.
        axes: by their position, of images 0 for the height, 1 for the width; several if one number serves them.
        count: the number of axes of the sizes.
    """

    learned: int
    entry: int
    axes: tuple[int, ...]
    count: int = 2

    @property
    def label(self) -> str:
        """The word "height", "width" or "both"; of other maps "length", "depth" or "all"."""
        if len(self.axes) == 1:
            return axis_names(self.count)[self.axes[0]]
        return "both" if self.count == 2 else "all"


def directions(tree: ResolutionTree, values: Sequence[PerAxis]) -> list[Direction]:
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
                found.append(Direction(k, entry, axes, resizer.axes))
    return found


def _jacobian(resizer: LearnedResizer[Any], value: PerAxis) -> list[list[float]]:
    """d stride / d alpha, one row per axis and one column per number of alpha."""
    alpha = torch.tensor(value[: resizer.shared_alpha().numel()], dtype=torch.float64)
    rows: list[list[float]] = torch.autograd.functional.jacobian(resizer.learned_strides, alpha).tolist()
    return rows


def pixels_per_alpha(tree: ResolutionTree, hw: Size, values: Sequence[PerAxis], direction: Direction) -> float:
    """d size / d alpha of a direction, of the size without rounding: -H / stride^2 * d stride / d alpha (Eq. 4).

    The mean over the axes if one number serves several.

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
    factor = tree.factors_at(hw, values).get(type(resizer), (1.0,) * resizer.axes)
    return statistics.fmean(
        -above[axis] * factor[axis] / strides[axis] ** 2 * jacobian[axis][direction.entry] for axis in direction.axes
    )


def moved(size: Size, direction: Direction, step: int) -> Size:
    """The size with `step` pixels more along the axes of a direction."""
    return tuple(n + step * (axis in direction.axes) for axis, n in enumerate(size))


def alphas_with(tree: ResolutionTree, hw: Size, values: Sequence[PerAxis], sizes: Mapping[int, Size]) -> list[PerAxis]:
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
        name, wanted_size = tree.nodes[i].name, sizes[i]
        if tree.sizes_at(hw, found)[i] == sizes[i]:
            continue
        if min(wanted_size) < 1:
            raise ValueError(f"{name} would have {_by(wanted_size)} pixels")
        if rule.admit(sizes[i]) != sizes[i]:
            raise ValueError(f"{name} must be {rule.admitted()}")
        wanted = resizer.values_for(tree.resizer_input_size(i, hw, found), sizes[i])
        found[k] = as_float32(wanted, f"{name}: alpha={wanted} is not finite")
        if as_float32(resizer.project(found[k], found[k], None), "") != found[k]:
            low, high = resizer.bounds
            raise ValueError(
                f"{name} at {_by(wanted_size)} pixels would leave the bounds of its scale factor, {low:.4g} to "
                f"{high:.4g}"
            )
    pixels = tree.sizes_at(hw, found)
    for i, size in sizes.items():
        if pixels[i] != size:
            raise ValueError(f"{tree.nodes[i].name} would have {_by(pixels[i])} pixels, not {_by(size)}")
    return found


def _by(size: Size) -> str:
    return "x".join(map(str, size))
