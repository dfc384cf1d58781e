"""The continuous surrogate of sizes (DynOPool, Eq. 7): what a cost is differentiated through."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from dynpool.graph import Resize, Smooth, propagate
from dynpool.resizers import LearnedResizer, gathered

from .cost_model import CostModel

__all__ = ["Factors", "Surrogate", "Terms"]

Factors = tuple[tuple[int, int], ...]  # per size: its row, and the pixels that a map has more than that resolution


@dataclass
class Terms:
    """Products of sizes with a coefficient each, as tensors of one row per term."""

    rows: Tensor
    offsets: Tensor
    coefficients: Tensor

    def to(self, device: torch.device) -> None:
        if self.rows.device != device:
            self.rows, self.offsets = self.rows.to(device), self.offsets.to(device)
            self.coefficients = self.coefficients.to(device)


class Surrogate:
    """Products of the continuous sizes of a model: a resolution's size is its parent's divided by the learned stride.

    There is neither rounding nor floor. The size of a class of axes is a base divided by a product of strides.
    """

    def __init__(self, cost: CostModel) -> None:
        self.cost, self.tree, self.owners, self.graph = cost, cost.tree, cost.owners, cost.graph
        self._axes = cost.graph.ndim
        sizes = self._smooth_sizes()
        self._row = {c: i for i, c in enumerate(sizes)}
        self._exponents = torch.zeros(len(sizes) + 1, self._axes * len(self.owners), dtype=torch.float64, device="cpu")
        for c, size in sizes.items():
            for s in size.strides:
                self._exponents[self._row[c], s] += 1
        self._base = torch.tensor([*(size.pixels for size in sizes.values()), 1.0], dtype=torch.float64, device="cpu")

    def _smooth_sizes(self) -> dict[int, Smooth]:
        """Sizes without rounding of the axis classes, except sums; each resizer has a stride for each axis."""
        graph, modules = self.graph, self.cost.modules
        column = {id(p.shared_alpha()): self._axes * i for i, p in enumerate(self.owners)}
        axes = replace(graph.axes, classes=graph.classes.without_sums())
        sizes = graph.with_input(*(Smooth(float(n)) for n in graph.input_size[1:]))

        def output(resize: Resize, size: tuple[Smooth, ...], *, last: bool) -> Iterator[Smooth | None]:
            resizer = modules.get(resize.path)
            for axis, n in enumerate(size):
                known = isinstance(n, Smooth)
                above = n if known else Smooth(float(resize.in_size[axis]))
                if resize.learned and not isinstance(resizer, LearnedResizer):  # follows, possibly to a fixed size
                    yield Smooth(float(resize.out_size[axis])) if last else None
                elif not (known or last):
                    yield None
                elif isinstance(resizer, LearnedResizer) and resize.learned:
                    multiple = 1 if self.tree is None else self.tree.slots[resize.path].multiple[axis]
                    yield (above * multiple).over(column[id(resizer.shared_alpha())] + axis)
                else:
                    yield above * (resize.out_size[axis] / resize.in_size[axis])

        def assign(sizes: dict[int, Smooth], axis: int, size: Smooth) -> None:
            if axes.classes.size(axis, sizes) is None:
                sizes[axis] = size

        for last in (False, True):  # what sets a size comes before what follows it, in whatever order they run
            propagate(axes, sizes, partial(output, last=last), assign)
        return sizes

    def factors(self, axes: Iterable[tuple[int, int]]) -> tuple[Factors, int]:
        """The sizes among these axes that change, and the product of what they are at tracing.

        Args:
            axes: (axis class, size at tracing) of each axis that a quantity is proportional to.
        """
        find, reference = self.graph.classes.find, self.graph.classes.reference
        known = [(self._row[find(a)], n - reference(a), n) for a, n in axes if find(a) in self._row]
        return tuple((row, offset) for row, offset, _ in known), math.prod(n for _, _, n in known)

    def terms(self, given: Iterable[tuple[Factors, float]]) -> Terms:
        """Coefficient times product of sizes, for each of the given."""
        listed = list(given)
        width = max([len(factors) for factors, _ in listed] + [1])
        constant = len(self._row)  # a row whose size is always 1
        rows = [[r for r, _ in f] + [constant] * (width - len(f)) for f, _ in listed]
        offsets = [[float(o) for _, o in f] + [0.0] * (width - len(f)) for f, _ in listed]
        return Terms(
            torch.tensor(rows, dtype=torch.long, device="cpu"),
            torch.tensor(offsets, dtype=torch.float64, device="cpu"),
            torch.tensor([c for _, c in listed], dtype=torch.float64, device="cpu"),
        )

    def __call__(self, terms: Terms) -> Tensor:
        """The terms at the present continuous sizes: a float64 vector with a gradient to every alpha."""
        if not self.owners:  # only kernels are learned
            terms.to(self._base.device)
            return terms.coefficients * (self._base[terms.rows] + terms.offsets).prod(dim=1)
        strides = torch.cat([p.learned_strides(gathered(p.shared_alpha()).double()) for p in self.owners])
        if any(p.looks_at_chains for p in self.owners) and self.tree is not None:
            factors = self.tree.factors_at(self.cost.input_size[1:])
            rows = [factors.get(type(p), (1.0,) * self._axes) for p in self.owners]
            strides = strides / torch.tensor(rows, dtype=strides.dtype, device=strides.device).flatten()
        if self._base.device != strides.device:
            self._base, self._exponents = self._base.to(strides.device), self._exponents.to(strides.device)
        terms.to(strides.device)
        sizes = self._base * torch.exp(-(self._exponents @ strides.log()))
        return terms.coefficients * (sizes[terms.rows] + terms.offsets).prod(dim=1)
