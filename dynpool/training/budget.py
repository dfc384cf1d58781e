"""Sizes of a given cost: a loss term that pulls the cost towards a budget, and a search for sizes that meet it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dynpool.cost import GMACsLoss
from dynpool.resizers import as_float32, host_alphas, set_alpha
from dynpool.resolution import ResolutionTree, resolution_tree
from dynpool.size_math import PerAxis, Size

__all__ = ["TOLERANCE", "Budget", "cost_reached", "scale_sizes", "scale_strides", "settle"]

log = logging.getLogger(__name__)

TOLERANCE = 0.02
"""Largest relative deviation of the final cost from a budget."""

_UNUSUAL = 20  # times the present cost
_LOG_LIMIT = 8.0  # logarithm of a factor that takes all strides to their bounds
GOAL = 0.01  # the search stops at sizes whose cost deviates from the budget by at most this fraction
_MOST_CANDIDATES = 2000  # or after this many candidates
_DEVIATION_WEIGHT = 1.0  # of a deviation beyond the goal, relative to squared logarithms of sizes
_FURTHEST = 2  # pixels of a step, as some sizes change only by twos

Values = list[PerAxis]


class Cost(Protocol):
    """What sizes cost, in some unit: a number for any values of the alphas, and a tensor with a gradient to them."""

    def value(self, alphas: Sequence[PerAxis] | None = None) -> float: ...

    def __call__(self) -> Tensor: ...


class Budget:
    """The cost of a converted network, compared with a budget.

    Args:
        model: a converted network.
        input_size: (C, H, W), (C, L) or (C, D, H, W) in pixels at which the cost is counted.
        target: the budget.
        key: the name of the budget in error messages.
        cost: what sizes cost; None: GMACs.
        unit: of the budget.
        accepted: whether the budget has been found within reach before, by other measurements of the cost.

    Raises:
        ValueError: if `model` is not converted, or cannot meet the budget within the bounds of its resizers.
    """

    def __init__(
        self,
        model: nn.Module,
        input_size: tuple[int, ...],
        target: float,
        *,
        key: str = "gmacs_budget",
        cost: Cost | None = None,
        unit: str = "GMACs",
        accepted: bool = False,
    ) -> None:
        tree = resolution_tree(model)
        if tree is None:
            raise ValueError(f"model must be converted to have a budget of {unit}, got a {type(model).__name__}")
        self.tree: ResolutionTree = tree
        self.cost: Cost = GMACsLoss(model, input_size) if cost is None else cost
        self.hw, self.target = input_size[1:], target
        if not accepted:
            self._check_reach(key, unit)

    def _check_reach(self, key: str, unit: str) -> None:
        tree, target = self.tree, self.target
        values = host_alphas(tree.owners)
        low, high = (self.excess(_scaled(self, values, end)) for end in (_LOG_LIMIT, -_LOG_LIMIT))
        if math.expm1(low) > TOLERANCE or math.expm1(high) < -TOLERANCE:
            least, most = (f"{target * math.exp(end):.6g}" for end in (low, high))
            raise ValueError(
                f"{key} is {target!r}, which is out of reach: sizes within the bounds cost {least} to {most} {unit}"
            )
        now = self.cost.value()
        if target > _UNUSUAL * now:
            log.warning(
                "%s is %r %s, %.3g times what the network costs now (%.4g %s): is another unit meant?",
                key, target, unit, target / now, now, unit,
            )  # fmt: skip

    def pull(self) -> Tensor:
        """ln(cost / budget)^2 / 2: zero on the budget, differentiable as `dynpool.GMACsLoss` is.

        Its gradient is that of the cost times ln(cost / budget) / cost: a weight that is positive above the budget,
        negative below, and grows with the distance from it.
        """
        return 0.5 * torch.log(self.cost() / self.target) ** 2

    def excess(self, values: Sequence[PerAxis] | None = None) -> float:
        """ln(cost / budget) at the rounded sizes of the current alphas, or of the given values."""
        return math.log(self.cost.value(values) / self.target)


def settle(budget: Budget) -> float:
    """Set the alphas to nearby sizes that meet the budget; returns ln(cost / budget) at these.

    First all strides are scaled by a common factor. As sizes are whole pixels, that can still miss the budget; then the
    sides of single maps are changed by a pixel or two. Deterministic. The result is within `TOLERANCE` unless there are
    too few or too small maps, or a ceiling on GMACs forbids them.
    """
    values = host_alphas(budget.tree.owners)
    if abs(budget.excess(values)) > GOAL:
        scaled = scale_strides(budget, values)
        _set(budget, _search_pixels(budget, scaled, _learned_sizes(budget, scaled)))
    return budget.excess()


def scale_sizes(budget: Budget) -> float:
    """Multiply all sizes by one factor, so that they meet the budget; returns ln(cost / budget).

    Sizes are rounded to whole pixels and kept within the resizers' bounds. If they miss the budget by more than
    `TOLERANCE`, single sides are changed by a pixel or two, as few as possible. Scaling all strides by one factor would
    not keep the proportions of the design: strides multiply, so after four resizers in a row sizes would change by the
    fourth power of the factor.
    """
    before = host_alphas(budget.tree.owners)
    designed = _learned_sizes(budget, before)

    def scaled(logarithm: float) -> list[PerAxis]:
        factor = math.exp(-logarithm)
        return [tuple(n * factor for n in size) for size in designed]

    def values_at(logarithm: float) -> Values:
        rounded = [tuple(max(round(n), 1) for n in size) for size in scaled(logarithm)]
        return _at_sizes(budget, rounded, before)

    best = _nearest(budget, values_at)
    values = values_at(best)
    if abs(math.expm1(budget.excess(values))) > TOLERANCE:
        values = _search_pixels(budget, values, scaled(best))
    _set(budget, values)
    return budget.excess()


def scale_strides(budget: Budget, values: Sequence[PerAxis]) -> Values:
    """The values with all strides multiplied by the common factor, within bounds, that comes closest to the budget."""
    return _scaled(budget, values, _nearest(budget, lambda logarithm: _scaled(budget, values, logarithm)))


def _nearest(budget: Budget, values_at: Callable[[float], Values]) -> float:
    """The logarithm of the factor whose values come closest to the budget; the larger it is, the less they cost."""
    low, high = -_LOG_LIMIT, _LOG_LIMIT
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if budget.excess(values_at(middle)) > 0 else (low, middle)
    return min(low, high, key=lambda logarithm: abs(budget.excess(values_at(logarithm))))


def _set(budget: Budget, values: Values) -> None:
    for resizer, alpha in zip(budget.tree.owners, values, strict=True):
        set_alpha(resizer, alpha)
    budget.tree.constrain(trust=math.inf)  # makes these values the centre of the next trust region


def cost_reached(gmacs: float, excess: float) -> str:
    """A sentence on how far sizes miss their target cost; `excess` is ln(GMACs / target)."""
    missed = math.expm1(excess)
    verdict = "within" if abs(missed) <= TOLERANCE else "NOT within"
    return f"sizes cost {missed:+.1%} of {gmacs:.6g} GMACs, {verdict} {TOLERANCE:.0%}"


def _scaled(budget: Budget, values: Sequence[PerAxis], logarithm: float) -> Values:
    factor = math.exp(logarithm)
    scaled = []
    for resizer, value in zip(budget.tree.owners, values, strict=True):
        strides = tuple(stride * factor for stride in resizer.strides(value))
        scaled.append(_as_stored(resizer.project(resizer.values_of(strides), value, None)))
    return scaled


def _search_pixels(budget: Budget, values: Values, ideal: Sequence[PerAxis]) -> Values:
    """Values that meet the budget at sizes close to the ideal ones, by a best-first search pixel by pixel.

    The score to minimise is the sum of squared ln(side / ideal side), plus `_DEVIATION_WEIGHT` times |ln(cost /
    budget)| beyond `GOAL`. The search ends when the best candidate left is within `GOAL` of the budget.
    """

    def scored(found: Values) -> tuple[float, int, float, Values]:
        sizes = _learned_sizes(budget, found)
        sides = zip(itertools.chain(*sizes), itertools.chain(*ideal), strict=True)
        excess = abs(budget.excess(found))
        distance = sum(math.log(side / wanted) ** 2 for side, wanted in sides)
        return distance + _DEVIATION_WEIGHT * max(excess - GOAL, 0), next(order), excess, found

    order = itertools.count()  # breaks ties: first found, first served
    heap = [scored(values)]
    tried, seen = [*heap], {tuple(values)}
    while heap and len(seen) < _MOST_CANDIDATES:
        best = heapq.heappop(heap)
        if best[2] <= GOAL:
            return best[3]
        for near in _neighbours(budget, best[3]):
            if tuple(near) not in seen:
                seen.add(tuple(near))
                tried.append(scored(near))
                heapq.heappush(heap, tried[-1])
    within = [found for found in tried if abs(math.expm1(found[2])) <= TOLERANCE]
    return min(within)[3] if within else min(tried, key=lambda found: found[2])[3]


def _neighbours(budget: Budget, values: Values) -> Iterator[Values]:
    """All values at which one map is one or two pixels larger or smaller per side, if its resizer allows that.

    The maps after it keep their sizes or, if their resizers cannot, their strides.
    """
    sizes = _learned_sizes(budget, values)
    steps = range(-_FURTHEST, _FURTHEST + 1)
    for k, size in enumerate(sizes):
        for wanted in itertools.product(*([n + step for step in steps] for n in size)):
            if wanted == size or min(wanted) < 1:
                continue
            moved = [*sizes[:k], wanted, *sizes[k + 1 :]]
            near = _at_sizes(budget, moved, values)
            if _learned_sizes(budget, near) != moved:
                near = [*near[: k + 1], *values[k + 1 :]]
            if _learned_sizes(budget, near)[k] == wanted:
                yield near


def _learned_sizes(budget: Budget, values: Values) -> list[Size]:
    """The sizes of the learned resolutions at these values, in the order of the values."""
    sizes = budget.tree.sizes_at(budget.hw, values)
    return [sizes[index] for index, _, _ in budget.tree.learned]


def _at_sizes(budget: Budget, wanted: Sequence[Size], before: Values) -> Values:
    """The values at which the learned resolutions have the wanted sizes, as far as the bounds allow.

    A resizer that cannot have its size keeps its stride.
    """
    tree, hw, values = budget.tree, budget.hw, list(before)
    for k, (index, _, resizer) in enumerate(tree.learned):  # parents first, so that each has its new input size
        with contextlib.suppress(ValueError):
            value = resizer.values_for(tree.resizer_input_size(index, hw, values), wanted[k])
            values[k] = _as_stored(resizer.project(value, values[k], None))
    return values


def _as_stored(value: PerAxis) -> PerAxis:
    """The values rounded to float32, as a parameter stores them: a size can depend on that."""
    return as_float32(value, f"alpha={value!r} is not finite")
