"""MACs of a model for one input size, as a function of its learned sizes.

They are computed by arithmetic on the graph of one pass. That pass is traced at learned sizes above the current ones,
and compared with a second one at different sizes: what is equal in both does not depend on a learned size, and no axis
is a single pixel or a single window. The arithmetic is checked against passes at a few other sizes; if it is wrong for
one of them, every new set of sizes costs a pass. The MACs of a convolution that learns its kernel are proportional to
the pixels of its live kernel, on which no size of a map depends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Unpack

from torch import nn

from dynpool.graph import Choose, Graph, PassOptions, Resize, Shapes, Survey, trace, trace_shapes
from dynpool.resizers import (
    LearnedResizer,
    check_axes,
    host_alphas,
    host_extents,
    learned_kernels,
    learned_resizers,
    usable_alphas,
)
from dynpool.resolution import converted_model, is_converted, resolution_tree, unwrapped, weights_outside
from dynpool.size_math import PerAxis, Size

__all__ = ["CostModel", "amount_at", "costed_model", "macs_at"]

Change = Callable[[Size], Size]

_UNCHANGED: Mapping[str, Fraction] = MappingProxyType({})
_CACHED = 4096  # number of sets of sizes whose MACs are kept


def macs_at(graph: Graph, sizes: Mapping[int, int], kernels: Mapping[str, Fraction] = _UNCHANGED) -> int:
    """MACs at other sizes of the axis classes than at tracing: Eq. 7, with the exact map size of each layer.

    `sizes` is a result of `Graph.axis_sizes`. The map of a layer may differ from its resolution by a few pixels, from
    padding or valid convolutions. `kernels` are the pixels of learned kernels by path, relative to those at tracing.
    """
    amounts = ((mac, amount_at(graph, mac.macs, mac.axes, sizes)) for mac in graph.macs)
    return sum(int(amount * kernels[mac.path]) if mac.path in kernels else amount for mac, amount in amounts)


def amount_at(graph: Graph, amount: int, axes: Iterable[tuple[int, int]], sizes: Mapping[int, int]) -> int:
    """An amount at tracing that grows with these axes (class, size at tracing), at other sizes of the classes."""
    classes, traced_positions = graph.classes, 1
    for axis, traced in axes:
        root = classes.find(axis)
        if root in sizes:
            amount *= sizes[root] + traced - classes.reference(axis)
            traced_positions *= traced
    return amount // traced_positions


class CostModel:
    """MACs of one forward pass of one image, as a function of the alphas.

    Args:
        model: a converted model, one with hand-placed resizers, or a plain one.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W).
        survey: a survey of the model at that size with its current alphas, if there is one.
        options: what a pass needs besides an image, see `trace`.

    Attributes:
        graph: of a pass at learned sizes that show how the MACs depend on them.
        owners: the resizers that own an alpha, in the order in which :meth:`macs` takes their values.
        exact: whether arithmetic on the graph gives the MACs of a pass; else :meth:`macs` runs a pass for sizes it has
            not seen, which takes as long as :func:`dynpool.count_macs`.

    Raises:
        ValueError: for a bad `input_size`, or if the model cannot run at it or wraps a converted one with more weights.
    """

    _only_read: ClassVar[bool] = True  # see `untouched`: a pass does not change it

    def __init__(
        self,
        model: nn.Module,
        input_size: Sequence[int],
        *,
        survey: Survey | None = None,
        **options: Unpack[PassOptions],
    ) -> None:
        model = self.model = costed_model(model)
        survey = Survey(model, input_size, **options) if survey is None else survey
        check_axes(model, len(survey.input_size) - 1, "a cost at this input_size")
        self.input_size, self.options = survey.input_size, survey.options
        self.tree = resolution_tree(model)
        self.modules = dict(model.named_modules())
        hand_placed = list(learned_resizers(model, owners=True).values()) if self.tree is None else []
        self.owners = hand_placed if self.tree is None else self.tree.owners
        self.kernels = learned_kernels(model)
        self._traced_kernels = self.live_kernels()
        self._known: dict[object, int] = {}
        self.graph, self.exact = self._structure(survey) if self.owners else (survey.at_input_size, True)

    def macs(self, alphas: Sequence[PerAxis] | None = None) -> int:
        """MACs at the current or the given values of the alphas."""
        values = host_alphas(self.owners) if alphas is None else list(alphas)
        kernels = self.live_kernels()
        sizes = tuple(values) if self.tree is None else tuple(self.tree.sizes_at(self.input_size[1:], values))
        key = (sizes, tuple(kernels.values()))
        if key not in self._known:
            if len(self._known) >= _CACHED:
                self._known.clear()
            exact = self.exact and all(now[1] == self._traced_kernels[path][1] for path, now in kernels.items())
            self._known[key] = self._computed(self.graph, _same, values) if exact else self._traced_macs(_same, values)
        return self._known[key]

    # --- temporarily changed sizes ------------------------------------------------------------------------------------

    @contextmanager
    def _at(self, change: Change, values: Sequence[PerAxis]) -> Iterator[Choose | None]:
        """Within the context, apply `change` to every learned size that the values lead to.

        A tree does this itself; for hand-placed resizers, the context yields the function that chooses their sizes.
        """
        if self.tree is None:
            value_of = {id(resizer.root()): v for resizer, v in zip(self.owners, values, strict=True)}

            def choose(resizer: LearnedResizer[Any], size: Size) -> Size:
                return change(resizer.output_size(size, resizer.strides(value_of[id(resizer.root())])))

            yield choose
            return
        sizes = self.tree.sizes_at(self.input_size[1:], values)
        changed = {i: rule.admit(change(sizes[i])) for i, rule, _ in self.tree.learned}
        with self.tree.overriding(changed):
            yield None

    def _traced(self, change: Change, values: Sequence[PerAxis], others: Shapes | None = None) -> Graph:
        with self._at(change, values) as choose:
            return trace(self.model, self.input_size, others=others, choose=choose, **self.options)

    def _traced_macs(self, change: Change, values: Sequence[PerAxis]) -> int:
        return self._traced(change, values).all_macs

    def _computed(self, graph: Graph, change: Change, values: Sequence[PerAxis]) -> int:
        return macs_at(graph, self.axis_sizes(graph, values, change), self._kernel_shares())

    # --- learned kernels ----------------------------------------------------------------------------------------------

    def live_kernels(self) -> dict[str, tuple[Size, float]]:
        """The live kernels in pixels by module path, and by which factor each layer makes its map smaller."""
        extents = host_extents(list(self.kernels.values()))
        return {path: (k, layer.factor) for (path, layer), k in zip(self.kernels.items(), extents, strict=True)}

    def traced_pixels(self, path: str) -> int:
        """The pixels that the learned kernel at a path had when the model was traced."""
        height, width = self._traced_kernels[path][0]
        return height * width

    def _kernel_shares(self) -> dict[str, Fraction]:
        live = self.live_kernels().items()
        return {path: Fraction(kh * kw, self.traced_pixels(path)) for path, ((kh, kw), _) in live}

    def axis_sizes(self, graph: Graph, values: Sequence[PerAxis], change: Change = lambda size: size) -> dict[int, int]:
        """Sizes of the axis classes of a trace of the model, in pixels, at the given values of the alphas."""
        with self._at(change, values) as choose:

            def sizer(resize: Resize, size: Size) -> Size:
                resizer = self.modules.get(resize.path)
                hand_placed = isinstance(resizer, LearnedResizer) and choose is not None
                return choose(resizer, size) if hand_placed else resize.out_size  # type: ignore[arg-type, misc]

            return graph.axis_sizes(sizer if self.tree is None else self.tree.sizer(self.input_size[1:]))

    # --- the structure ------------------------------------------------------------------------------------------------

    def _structure(self, survey: Survey) -> tuple[Graph, bool]:
        """A graph to compute MACs from, and whether the computed MACs are right at all sizes tried."""
        values = host_alphas(self.owners) if self.tree is None else usable_alphas(self.owners)  # as in a pass
        expected = {_same: survey.at_input_size.all_macs}
        for change in (_nearby, _smallest):
            with suppress(ValueError):  # a model with hand-placed resizers may not run at these sizes
                expected[change] = self._traced_macs(change, values)
        found: Graph | None = None
        for first, second in ((_larger, _largest), (_same, _larger)):
            try:
                with self._at(second, values) as choose:
                    others = trace_shapes(self.model, self.input_size, choose=choose, **self.options)
                graph = self._traced(first, values, others)
            except ValueError:  # the model does not run at such sizes
                continue
            found = graph if found is None else found
            expected.setdefault(first, graph.all_macs)
            if all(self._computed(graph, change, values) == macs for change, macs in expected.items()):
                return graph, True
        return found or self._traced(_same, values), False


def costed_model(model: nn.Module) -> nn.Module:
    """The converted model inside a wrapper; the unwrapped model if there is none.

    Raises:
        ValueError: if the wrapper has weights of its own, whose MACs would be missing.
    """
    inner = converted_model(unwrapped(model))
    outside = weights_outside(model, inner)
    if is_converted(inner) and outside:
        raise ValueError(
            f"model is a {type(model).__name__} that has weights outside the converted model in it ({outside[0]}, "
            "...): give the converted model alone, or convert the whole model"
        )
    return inner if is_converted(inner) else unwrapped(model)


def _same(size: Size) -> Size:
    return size


def _nearby(size: Size) -> Size:
    return tuple(max(round(n * (0.7, 1.3, 0.9)[axis]), 2 + axis) for axis, n in enumerate(size))


def _smallest(size: Size) -> Size:
    return (2,) * len(size)


def _larger(size: Size) -> Size:
    return tuple(max(2 * n, 9) + 3 + axis for axis, n in enumerate(size))


def _largest(size: Size) -> Size:
    return tuple(max(3 * n, 16) + 5 + 2 * axis for axis, n in enumerate(size))
