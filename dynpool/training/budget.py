"""Sizes of a given cost: a loss term that draws GMACs towards a budget, and the nearest sizes that meet it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from dynpool.cost import GMACsLoss
from dynpool.resizers import as_pair, host_alphas, set_alpha
from dynpool.resolution import ResolutionTree, resolution_tree
from dynpool.size_math import Pair

__all__ = ["TOLERANCE", "Budget", "cost_reached", "scale_sizes", "scale_strides", "settle"]

TOLERANCE = 0.02
"""Largest relative deviation of the final GMACs from a budget."""

_FAR = 8.0  # logarithm of a factor that takes all strides to their bounds
GOAL = 0.005  # the search for sizes stops at this relative deviation
MOST_TRIED = 2000  # or after this many candidates

STEPS = [(h, w) for h in range(-2, 3) for w in range(-2, 3) if (h, w) != (0, 0)]  # some sizes change only in twos

Values = list[Pair]


class Budget:
    """The GMACs of a converted network, compared with a budget.

    Args:
        model: a converted network.
        input_size: (C, H, W) in pixels at which GMACs are counted.
        gmacs: the budget.
        key: its name in error messages.

    Raises:
        ValueError: if `model` is not converted, or the budget cannot be met within its resizers' bounds.
    """

    def __init__(
        self, model: nn.Module, input_size: tuple[int, int, int], gmacs: float, *, key: str = "gmacs_budget"
    ) -> None:
        tree = resolution_tree(model)
        if tree is None:
            raise ValueError(f"a budget of GMACs needs a converted model, got a {type(model).__name__}")
        self.tree: ResolutionTree = tree
        self.loss = GMACsLoss(model, input_size)
        self.gmacs = gmacs
        values = host_alphas(tree.pools)
        least, most = (self.excess(_scaled(self, values, end)) for end in (_FAR, -_FAR))
        if math.expm1(least) > TOLERANCE or math.expm1(most) < -TOLERANCE:
            low, high = (f"{gmacs * math.exp(end):.6g}" for end in (least, most))
            raise ValueError(
                f"{key} is {gmacs!r}, which is out of reach: sizes within the bounds cost {low} to {high} GMACs"
            )

    def pull(self) -> Tensor:
        """ln(GMACs / budget)^2 / 2: zero on the budget, differentiable as `dynpool.GMACsLoss` is.

        Its gradient is that of the GMACs loss times ln(GMACs / budget) / GMACs: a weight that grows with the distance
        from the budget, positive above it and negative below.
        """
        return 0.5 * torch.log(self.loss() / self.gmacs) ** 2

    def excess(self, values: Sequence[Pair] | None = None) -> float:
        """ln(GMACs / budget) at the rounded sizes of the current alphas, or of the given values."""
        return math.log(self.loss.cost.macs(values) / (1e9 * self.gmacs))


def settle(budget: Budget) -> float:
    """Set a network's alphas to nearby sizes that meet the budget, and return ln(GMACs / budget) at these.

    First all strides are scaled by a common factor. As sizes are whole pixels, the result can still miss the budget by
    more than `TOLERANCE`; then single sides of maps are changed by a pixel or two. Deterministic. The result is within
    `TOLERANCE` unless the maps are too few and too small for that, or a ceiling on GMACs is below the budget.
    """
    values = host_alphas(budget.tree.pools)
    if abs(budget.excess(values)) > GOAL:
        _set(budget, _pixel_by_pixel(budget, scale_strides(budget, values)))
    return budget.excess()


def scale_sizes(budget: Budget) -> float:
    """Multiply all sizes of a network by one factor, so that they meet the budget, and return ln(GMACs / budget).

    Sizes are rounded to whole pixels and kept within the resizers' bounds. Where the nearest ones miss the budget by
    more than `TOLERANCE`, `settle` changes single sides by a pixel or two. One factor of all strides would be another
    design: strides multiply, so behind the fourth pool in a row sizes would change by the fourth power of the factor.
    """
    tree, hw = budget.tree, budget.loss.input_size[1:]
    designed, before = tree.sizes_at(hw), host_alphas(tree.pools)

    def values_at(logarithm: float) -> Values:
        values = list(before)
        for k, (i, _, pool) in enumerate(tree.learned):  # parents first, which have their new sizes
            h, w = (max(round(side * math.exp(-logarithm)), 1) for side in designed[i])
            wanted = pool.values_for(tree.above(i, hw, values), (h, w))
            values[k] = _as_stored(pool.project(wanted, values[k], None))
        return values

    _set(budget, _nearest(budget, values_at))
    return budget.excess() if abs(math.expm1(budget.excess())) <= TOLERANCE else settle(budget)


def scale_strides(budget: Budget, values: Sequence[Pair]) -> Values:
    """The values with all strides multiplied by the common factor, within bounds, that comes closest to the budget."""
    return _nearest(budget, lambda logarithm: _scaled(budget, values, logarithm))


def _nearest(budget: Budget, values_at: Callable[[float], Values]) -> Values:
    """Of values that cost less with a growing number (the logarithm of a factor), those closest to the budget."""
    low, high = -_FAR, _FAR
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if budget.excess(values_at(middle)) > 0 else (low, middle)
    return min((values_at(low), values_at(high)), key=lambda values: abs(budget.excess(values)))


def _set(budget: Budget, values: Values) -> None:
    for pool, alpha in zip(budget.tree.pools, values, strict=True):
        set_alpha(pool, alpha)
    budget.tree.constrain(trust=math.inf)  # the trust region of the next step is around these values


def cost_reached(gmacs: float, excess: float) -> str:
    """A sentence on how far sizes miss their target cost: `excess` is ln(GMACs / target)."""
    missed = math.expm1(excess)
    verdict = "within" if abs(missed) <= TOLERANCE else "NOT within"
    return f"sizes cost {missed:+.1%} of {gmacs:.6g} GMACs, {verdict} {TOLERANCE:.0%}"


def _scaled(budget: Budget, values: Sequence[Pair], logarithm: float) -> Values:
    factor = math.exp(logarithm)
    scaled = []
    for pool, value in zip(budget.tree.pools, values, strict=True):
        h, w = pool.strides(value)
        scaled.append(_as_stored(pool.project(pool.values_of((h * factor, w * factor)), value, None)))
    return scaled


def _pixel_by_pixel(budget: Budget, values: Values) -> Values:
    """The best values of a best-first search, which expands the values closest to the budget first."""
    order = itertools.count()  # ties are broken by the order in which values were found
    best = (abs(budget.excess(values)), next(order), values)
    heap, seen = [best], {tuple(values)}
    while heap and best[0] > GOAL and len(seen) < MOST_TRIED:
        for near in _neighbours(budget, heapq.heappop(heap)[2]):
            if tuple(near) not in seen:
                seen.add(tuple(near))
                found = (abs(budget.excess(near)), next(order), near)
                heapq.heappush(heap, found)
                best = min(best, found)
    return best[2]


def _neighbours(budget: Budget, values: Values) -> Iterator[Values]:
    """All values in which one map differs by one or two pixels per side, if its resizer can have that size."""
    tree = budget.tree
    sizes = tree.sizes_at(budget.loss.input_size[1:], values)
    for index, (i, _, pool) in enumerate(tree.learned):
        size, above = sizes[i], sizes[tree.nodes[i].parent or 0]
        for step in STEPS:
            wanted = (size[0] + step[0], size[1] + step[1])
            if min(wanted) < 1:
                continue
            try:
                value = pool.values_for(above, wanted)
            except ValueError:
                continue
            if value == pool.project(value, values[index], None):
                yield [*values[:index], _as_stored(value), *values[index + 1 :]]


def _as_stored(value: Pair) -> Pair:
    """The values as float32 numbers, as a parameter holds them; a size can depend on the rounding."""
    return as_pair(value, f"alpha={value!r} is not finite")
