"""MACs of a model at any of its learned sizes for one input size: the graph of one pass, and arithmetic on it.

The pass runs at larger learned sizes than the present ones, beside a second one at still others: there every learned
axis differs, none is a single pixel or a single window, and what is the same in both does not depend on a learned
size. The arithmetic is compared with passes at other sizes; where it is not right, sizes are costed by passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar

from torch import nn

from dynpool.graph import Choose, Graph, Resize, Shapes, Survey, trace, trace_shapes
from dynpool.resizers import LearnedResizer2d, host_alphas, learned_resizers, usable_alphas
from dynpool.resolution import beside, converted_model, is_converted, resolution_tree, unwrapped
from dynpool.size_math import Pair, Size

__all__ = ["CostModel", "costed_model", "macs_at"]

Change = Callable[[Size], Size]

_MOST_KEPT = 4096  # sizes whose MACs are remembered


def macs_at(graph: Graph, sizes: Mapping[int, int]) -> int:
    """MACs at other sizes of the axis classes than at tracing (`Graph.axis_sizes`): Eq. 7 with each layer's own map.

    The map of a layer is its resolution plus the pixels that padding or a valid convolution adds to it.
    """
    classes = graph.classes
    total = 0
    for mac in graph.macs:
        now, then = mac.macs, 1
        for axis, traced in mac.axes:
            root = classes.find(axis)
            if root in sizes:
                now *= sizes[root] + traced - classes.reference(axis)
                then *= traced
        total += now // then
    return total


class CostModel:
    """MACs of one forward pass of one image at the learned sizes that alphas lead to.

    Args:
        model: converted, with hand-placed resizers, or plain.
        input_size: (C, H, W) in pixels.
        batch: images that a pass needs, see `trace`.
        seen: a survey of the model at that size with its present alphas, if there is one.

    Attributes:
        graph: of a pass at learned sizes that show how the work depends on them.
        owners: the resizers that own an alpha, in the order in which :meth:`macs` takes their values.
        exact: whether arithmetic on the graph gives the MACs of a pass; else :meth:`macs` runs one for sizes that are
            new, which takes as long as :func:`dynpool.count_macs`.

    Raises:
        ValueError: for a bad `input_size`, or when the model cannot run at it.
    """

    _only_read: ClassVar[bool] = True  # no pass changes it: see `untouched`

    def __init__(
        self, model: nn.Module, input_size: Sequence[int], *, batch: int | None = None, seen: Survey | None = None
    ) -> None:
        model = self.model = costed_model(model)
        seen = Survey(model, input_size, batch) if seen is None else seen
        self.input_size, self.batch = seen.input_size, batch
        self.tree = resolution_tree(model)
        self.modules = dict(model.named_modules())
        by_hand = list(learned_resizers(model, owners=True).values()) if self.tree is None else []
        self.owners = by_hand if self.tree is None else self.tree.owners
        self._known: dict[object, int] = {}
        self.graph, self.exact = self._structure(seen) if self.owners else (seen.here, True)

    def macs(self, alphas: Sequence[Pair] | None = None) -> int:
        """MACs at the current values of the alphas, or at given ones."""
        values = host_alphas(self.owners) if alphas is None else list(alphas)
        key = tuple(values) if self.tree is None else tuple(self.tree.sizes_at(self.input_size[1:], values))
        if key not in self._known:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[key] = self._computed(self.graph, _same, values) if self.exact else self._passed(_same, values)
        return self._known[key]

    # --- sizes that are changed for a while ---------------------------------------------------------------------------

    @contextmanager
    def _at(self, change: Change, values: Sequence[Pair]) -> Iterator[Choose | None]:
        """Every learned size is changed meanwhile from what the values lead to; a hand-placed one by what it gives."""
        if self.tree is None:
            host = {id(resizer.root()): v for resizer, v in zip(self.owners, values, strict=True)}

            def choose(resizer: LearnedResizer2d, size: Size) -> Size:
                return change(resizer.output_size(size, resizer.strides(host[id(resizer.root())])))

            yield choose
            return
        sizes = self.tree.sizes_at(self.input_size[1:], values)
        moved = {i: rule.admit(change(sizes[i])) for i, rule, _ in self.tree.learned}
        with self.tree.trying(moved):
            yield None

    def _traced(self, change: Change, values: Sequence[Pair], others: Shapes | None = None) -> Graph:
        with self._at(change, values) as choose:
            return trace(self.model, self.input_size, others=others, choose=choose, batch=self.batch)

    def _passed(self, change: Change, values: Sequence[Pair]) -> int:
        return self._traced(change, values).all_macs

    def _computed(self, graph: Graph, change: Change, values: Sequence[Pair]) -> int:
        return macs_at(graph, self.axis_sizes(graph, values, change))

    def axis_sizes(self, graph: Graph, values: Sequence[Pair], change: Change = lambda size: size) -> dict[int, int]:
        """Sizes of the axis classes of a trace of the model at given values of the alphas, in pixels."""
        with self._at(change, values) as choose:

            def sizer(resize: Resize, size: Size) -> Size:
                resizer = self.modules.get(resize.path)
                by_alpha = isinstance(resizer, LearnedResizer2d) and choose is not None
                return choose(resizer, size) if by_alpha else resize.out_size  # type: ignore[arg-type, misc]

            return graph.axis_sizes(sizer if self.tree is None else self.tree.sizer(self.input_size[1:]))

    # --- the structure ------------------------------------------------------------------------------------------------

    def _structure(self, seen: Survey) -> tuple[Graph, bool]:
        """A graph from which the MACs at other sizes follow, and whether they do at all sizes tried."""
        values = host_alphas(self.owners) if self.tree is None else usable_alphas(self.owners)  # as in a pass
        true = {_same: seen.here.all_macs}
        for change in (_near, _least):
            with suppress(ValueError):  # hand-placed resizers may be given sizes at which the model does not run
                true[change] = self._passed(change, values)
        found: Graph | None = None
        for here, there in ((_larger, _largest), (_same, _larger)):
            try:
                with self._at(there, values) as choose:
                    others = trace_shapes(self.model, self.input_size, choose=choose, batch=self.batch)
                graph = self._traced(here, values, others)
            except ValueError:  # it does not run at such sizes
                continue
            found = graph if found is None else found
            true.setdefault(here, graph.all_macs)
            if all(self._computed(graph, change, values) == macs for change, macs in true.items()):
                return graph, True
        return found or self._traced(_same, values), False


def costed_model(model: nn.Module) -> nn.Module:
    """The converted model in a wrapper that has no weights of its own."""
    inner = converted_model(unwrapped(model))
    others = beside(model, inner)
    if is_converted(inner) and others:
        raise ValueError(
            f"the {type(model).__name__} has weights outside the converted model in it ({others[0]}, ...): "
            "pass that model, or convert the whole"
        )
    return inner if is_converted(inner) else unwrapped(model)


def _same(size: Size) -> Size:
    return size


def _near(size: Size) -> Size:
    return (max(round(size[0] * 0.7), 2), max(round(size[1] * 1.3), 3))


def _least(size: Size) -> Size:
    return (2, 2)


def _larger(size: Size) -> Size:
    return (max(2 * size[0], 9) + 3, max(2 * size[1], 9) + 4)


def _largest(size: Size) -> Size:
    return (max(3 * size[0], 16) + 5, max(3 * size[1], 16) + 7)
