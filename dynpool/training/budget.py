"""Sizes of a given cost: a loss term that draws GMACs towards a budget, and the nearest sizes that meet it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from dynpool.cost import GMACsLoss
from dynpool.resizers import as_pair, host_alphas, set_alpha
from dynpool.resolution import ResolutionTree, resolution_tree
from dynpool.size_math import Pair, Size

__all__ = ["TOLERANCE", "Budget", "cost_reached", "scale_sizes", "scale_strides", "settle"]

TOLERANCE = 0.02
"""Largest relative deviation of the final GMACs from a budget."""

_FAR = 8.0  # logarithm of a factor that takes all strides to their bounds
GOAL = 0.01  # the search for sizes stops at this relative deviation
MOST_TRIED = 2000  # or after this many candidates
PRICE = 1.0  # of missing the budget beyond that, relative to squared logarithms of sizes

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
        values = host_alphas(tree.owners)
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

    First all strides are scaled by a common factor. As sizes are whole pixels, the result can still miss the budget;
    then single sides of maps are changed by a pixel or two. Deterministic. The result is within `TOLERANCE` unless the
    maps are too few and too small for that, or a ceiling on GMACs is below the budget.
    """
    values = host_alphas(budget.tree.owners)
    if abs(budget.excess(values)) > GOAL:
        scaled = scale_strides(budget, values)
        _set(budget, _pixel_by_pixel(budget, scaled, _learned_sizes(budget, scaled)))
    return budget.excess()


def scale_sizes(budget: Budget) -> float:
    """Multiply all sizes of a network by one factor, so that they meet the budget, and return ln(GMACs / budget).

    Sizes are rounded to whole pixels and kept within the resizers' bounds. Where the nearest ones miss the budget by
    more than `TOLERANCE`, single sides are changed by a pixel or two, as few as possible. One factor of all strides
    would be another design: strides multiply, so behind the fourth resizer in a row sizes would change by the factor's
    fourth power.
    """
    before = host_alphas(budget.tree.owners)
    designed = _learned_sizes(budget, before)

    def scaled(logarithm: float) -> list[Pair]:
        factor = math.exp(-logarithm)
        return [(h * factor, w * factor) for h, w in designed]

    def values_at(logarithm: float) -> Values:
        return _at_sizes(budget, [(max(round(h), 1), max(round(w), 1)) for h, w in scaled(logarithm)], before)

    best = _nearest(budget, values_at)
    values = values_at(best)
    if abs(math.expm1(budget.excess(values))) > TOLERANCE:
        values = _pixel_by_pixel(budget, values, scaled(best))
    _set(budget, values)
    return budget.excess()


def scale_strides(budget: Budget, values: Sequence[Pair]) -> Values:
    """The values with all strides multiplied by the common factor, within bounds, that comes closest to the budget."""
    return _scaled(budget, values, _nearest(budget, lambda logarithm: _scaled(budget, values, logarithm)))


def _nearest(budget: Budget, values_at: Callable[[float], Values]) -> float:
    """The number (the logarithm of a factor) whose values, which cost less as it grows, come closest to the budget."""
    low, high = -_FAR, _FAR
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if budget.excess(values_at(middle)) > 0 else (low, middle)
    return min(low, high, key=lambda logarithm: abs(budget.excess(values_at(logarithm))))


def _set(budget: Budget, values: Values) -> None:
    for resizer, alpha in zip(budget.tree.owners, values, strict=True):
        set_alpha(resizer, alpha)
    budget.tree.constrain(trust=math.inf)  # the trust region of the next step is around these values


def cost_reached(gmacs: float, excess: float) -> str:
    """A sentence on how far sizes miss their target cost: `excess` is ln(GMACs / target)."""
    missed = math.expm1(excess)
    verdict = "within" if abs(missed) <= TOLERANCE else "NOT within"
    return f"sizes cost {missed:+.1%} of {gmacs:.6g} GMACs, {verdict} {TOLERANCE:.0%}"


def _scaled(budget: Budget, values: Sequence[Pair], logarithm: float) -> Values:
    factor = math.exp(logarithm)
    scaled = []
    for resizer, value in zip(budget.tree.owners, values, strict=True):
        h, w = resizer.strides(value)
        scaled.append(_as_stored(resizer.project(resizer.values_of((h * factor, w * factor)), value, None)))
    return scaled


def _pixel_by_pixel(budget: Budget, values: Values, ideal: Sequence[Pair]) -> Values:
    """Values that meet the budget at sizes close to the ideal ones: a best-first search over single pixels.

    The best sizes have the smallest sum of squared ln(side / ideal side), plus `PRICE` for each unit of ln(GMACs /
    budget) beyond `GOAL`. The search ends when it has looked around all better sizes than some that meet the budget.
    """

    def judged(found: Values) -> tuple[float, int, float, Values]:
        sizes = _learned_sizes(budget, found)
        sides = zip(itertools.chain(*sizes), itertools.chain(*ideal), strict=True)
        excess = abs(budget.excess(found))
        moved = sum(math.log(side / wanted) ** 2 for side, wanted in sides)
        return moved + PRICE * max(excess - GOAL, 0), next(order), excess, found

    order = itertools.count()  # ties are broken by the order in which values were found
    heap = [judged(values)]
    tried, seen = [*heap], {tuple(values)}
    while heap and len(seen) < MOST_TRIED:
        best = heapq.heappop(heap)
        if best[2] <= GOAL:
            return best[3]
        for near in _neighbours(budget, best[3]):
            if tuple(near) not in seen:
                seen.add(tuple(near))
                tried.append(judged(near))
                heapq.heappush(heap, tried[-1])
    within = [found for found in tried if abs(math.expm1(found[2])) <= TOLERANCE]
    return min(within)[3] if within else min(tried, key=lambda found: found[2])[3]


def _neighbours(budget: Budget, values: Values) -> Iterator[Values]:
    """All values in which one map differs by one or two pixels per side, if its resizer can have that size.

    The maps behind it keep their sizes, or where their resizers cannot, their strides.
    """
    sizes = _learned_sizes(budget, values)
    for k, (h, w) in enumerate(sizes):
        for step in STEPS:
            wanted = (h + step[0], w + step[1])
            if min(wanted) < 1:
                continue
            moved = [*sizes[:k], wanted, *sizes[k + 1 :]]
            near = _at_sizes(budget, moved, values)
            if _learned_sizes(budget, near) != moved:
                near = [*near[: k + 1], *values[k + 1 :]]
            if _learned_sizes(budget, near)[k] == wanted:
                yield near


def _learned_sizes(budget: Budget, values: Values) -> list[Size]:
    """The sizes of the learned resolutions at these values, in the order of the values."""
    sizes = budget.tree.sizes_at(budget.loss.input_size[1:], values)
    return [sizes[index] for index, _, _ in budget.tree.learned]


def _at_sizes(budget: Budget, wanted: Sequence[Size], before: Values) -> Values:
    """The values at which the learned resolutions have these sizes, or are as close to them as the bounds allow.

    A resizer that cannot have its size at all keeps its stride.
    """
    tree, hw, values = budget.tree, budget.loss.input_size[1:], list(before)
    for k, (index, _, resizer) in enumerate(tree.learned):  # parents first, which have their new sizes
        with contextlib.suppress(ValueError):
            value = resizer.values_for(tree.above(index, hw, values), wanted[k])
            values[k] = _as_stored(resizer.project(value, values[k], None))
    return values


def _as_stored(value: Pair) -> Pair:
    """The values as float32 numbers, as a parameter holds them; a size can depend on the rounding."""
    return as_pair(value, f"alpha={value!r} is not finite")
