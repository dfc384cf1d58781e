"""Kinds of layers that resize: a registry of what each becomes, and the arithmetic its planners share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import nn

from dynpool.graph import Resize
from dynpool.resizers import Reduce
from dynpool.size_math import Size, axes_text, same_padding

__all__ = [
    "Plan", "Planner", "Site", "axes_of", "of_other_axes", "other_axes", "plan_for", "planner_of", "register_kind",
    "resizer_kinds",
]  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How one layer is rewritten.

    Args:
        place: where the resize goes: "instead" of the layer, "after" it, or "before" it.
        reduce: the reduction of the resize.
        form: makes the module that replaces the layer, such as :func:`.stride_forms.stride_one`; it may change and
            return the layer itself. None: the layer stays as it is.
        multiple, offset: the resized map has `multiple` times the pixels of the layer's output plus `offset`, per axis.
        start, end: pixels by which the map is cut at its start and continued at its end before it is resized, per axis;
            for "after" only.

    Empty tuples stand for a multiple of 1, and for no pixels, along all axes.
    """

    place: Literal["instead", "after", "before"]
    reduce: Reduce
    form: Callable[[Any], nn.Module] | None = None
    multiple: Size = ()
    offset: Size = ()
    start: Size = ()
    end: Size = ()

    def __post_init__(self) -> None:
        for name, allowed in (("place", ("instead", "after", "before")), ("reduce", get_args(Reduce))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(map(repr, allowed))}")

    def along(self, axes: int) -> Plan:
        """The same plan with a number for each axis."""
        none = (0,) * axes
        multiple = self.multiple or (1,) * axes
        return replace(
            self, multiple=multiple, offset=self.offset or none, start=self.start or none, end=self.end or none
        )


@dataclass(frozen=True)
class Site:
    """The context of a layer: its strided operation as traced, the options of the conversion, and its padding.

    Args:
        resize: the operation; its `in_size` includes the layer's own padding.
        order: "after" or "before", as in :func:`dynpool.convert`.
        preserve: whether the layer must compute the same after conversion.
        pad: pixels (low, high) that the layer puts around its input before the operation, for each axis; empty: none.
    """

    resize: Resize
    order: str = "after"
    preserve: bool = False
    pad: tuple[Size, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pad", self.pad or ((0, 0),) * self.resize.axes)

    @property
    def in_size(self) -> Size:
        """The size of the layer's input in pixels, at tracing."""
        return tuple(n - sum(p) for n, p in zip(self.resize.in_size, self.pad, strict=True))

    @property
    def low(self) -> Size:
        """Pixels by which the first window reaches over the border."""
        return tuple(p + q[0] for p, q in zip(self.resize.padding, self.pad, strict=True))

    @property
    def reach(self) -> Size:
        """Pixels from the first to the last of a window."""
        return tuple(d * (k - 1) for d, k in zip(self.resize.dilation, self.resize.kernel, strict=True))

    @property
    def cuts_patches(self) -> bool:
        """Whether the windows lie side by side (kernel = stride) from the map's first pixel on."""
        return self.resize.kernel == self.resize.stride and not any(self.low) and max(self.resize.kernel) > 1

    @property
    def pads_same(self) -> bool:
        """Whether the layer pads as TensorFlow's SAME does at this size."""
        r = self.resize
        axes = zip(self.in_size, r.kernel, r.stride, r.dilation, strict=True)
        return tuple(same_padding(*axis) for axis in axes) == self.pad

    @property
    def grows(self) -> Size:
        """Pixels by which the layer's map at stride 1 is larger than its input."""
        return tuple(a - b for a, b in zip(self.stride_one_size, self.in_size, strict=True))

    @property
    def windows(self) -> Size:
        """Pixels of the map whose every `stride`-th pixel is the output: stride times output, per axis."""
        return tuple(s * n for s, n in zip(self.resize.stride, self.resize.out_size, strict=True))

    @property
    def stride_one_size(self) -> Size:
        """Size of the layer's map at stride 1, with the padding it has now."""
        r = self.resize
        return tuple(n + 2 * p - d for n, p, d in zip(r.in_size, r.padding, self.reach, strict=True))

    def keep_stride(self, reduce: Reduce = "sample") -> Plan:
        """The layer as it is, its input resized: no resize at all as long as the sizes are the original ones."""
        offset = tuple(n - m for n, m in zip(self.in_size, self.windows, strict=True))
        return Plan("before", reduce, multiple=self.resize.stride, offset=offset)

    def sample(self, form: Callable[[Any], nn.Module], map_size: Size, start: Size = ()) -> Plan:
        """Every `stride`-th pixel of the layer's stride-1 map, from pixel `start` on: the function of the layer."""
        start = start or (0,) * self.resize.axes
        left = zip(self.windows, map_size, start, strict=True)
        return Plan("after", "sample", form, start=start, end=tuple(m - (n - s) for m, n, s in left))


Planner = Callable[[Any, Site], Plan | str]

_KINDS: dict[str, Planner] = {}


def register_kind(*kinds: type[nn.Module] | str) -> Callable[[Planner], Planner]:
    """A decorator that makes layers of the given types (and their subclasses) learnable by :func:`dynpool.convert`.

    The function it decorates is called as `planner(module, site)` with a layer of the original model and its
    :class:`Site`; it returns a :class:`Plan`, or the reason why this layer cannot be converted. A later registration
    replaces an earlier one; the nearest type in the layer's method resolution order counts.

    Args:
        kinds: module types, or their dotted names ("package.module.Type") where importing them is not worth it.

    Raises:
        TypeError: for no kind, one that is neither, or a planner that cannot be called; in `convert`, for a planner
            that returns anything else.
        ValueError: for a name that has no dots.

    Example:
        >>> import torch, dynpool
        >>> from torch import nn
        >>> class Subsample(nn.Module):
        ...     stride = 2
        ...     def forward(self, x):
        ...         return nn.functional.avg_pool2d(x, 1, self.stride)
        >>> @dynpool.register_kind(Subsample)
        ... def plan(module, site):
        ...     return site.keep_stride() if site.preserve else dynpool.Plan("instead", "sample")
        >>> model = dynpool.convert(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Subsample()), (3, 32, 32))
        >>> dynpool.resolutions(model)["1"].size
        (16, 16)
    """

    if not kinds:
        raise TypeError("kinds is empty: give the types of nn.Module that the planner is for")
    for kind in kinds:
        if not isinstance(kind, str) and not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise TypeError(
                f"kinds must be types of nn.Module, or their dotted names, got {kind!r}; the planner is the function "
                "that is decorated"
            )
        if isinstance(kind, str) and not re.fullmatch(r"\w+(\.\w+)+", kind):
            raise ValueError(f"kinds has {kind!r}; allowed: types, or dotted names such as 'package.module.Type'")

    def register(planner: Planner) -> Planner:
        if not callable(planner):
            raise TypeError(f"the planner of {', '.join(map(str, kinds))} must be callable, got {planner!r}")
        _KINDS.update({kind if isinstance(kind, str) else _name(kind): planner for kind in kinds})
        return planner

    return register


def resizer_kinds() -> tuple[str, ...]:
    """Dotted names of the module types that `convert` can make learnable; their subclasses count too."""
    return tuple(_KINDS)


def planner_of(module: nn.Module) -> Planner | None:
    """The planner registered for the nearest type of `module`, or None."""
    return next((_KINDS[_name(kind)] for kind in type(module).__mro__ if _name(kind) in _KINDS), None)


def plan_for(module: nn.Module, site: Site) -> Plan | str:
    """How `module` is rewritten, or why it cannot be."""
    planner = planner_of(module)
    if planner is None:
        return f"{site.resize.kind} called in {type(module).__name__}, which is not a known kind of resizer"
    if reason := of_other_axes(site.resize, axes_of(module)):
        return reason
    plan = planner(module, site)
    if not isinstance(plan, Plan | str):
        raise TypeError(f"the planner of {_name(type(module))} returned {plan!r}: expected a Plan, or a reason")
    strides = site.resize.scale is None  # a transposed convolution keeps its own arithmetic, and is followed
    if site.preserve and site.order == "before" and strides and isinstance(plan, Plan) and plan.place == "after":
        return site.keep_stride()
    return plan if isinstance(plan, str) else plan.along(site.resize.axes)


def of_other_axes(resize: Resize, axes: int | None = None) -> str | None:
    """Why a resizer over other axes than those of the model's input is left alone; None if it is not one.

    Args:
        resize: what it did.
        axes: the number of its axes; None: that in the name of its operation, if there is one.
    """
    named = re.search(r"([123])d", resize.kind)
    own = axes or (int(named[1]) if named else resize.axes)
    return None if own == resize.axes else other_axes(own, resize.axes)


def other_axes(own: int, of_input: int) -> str:
    """Why a resizer over so many axes is left alone in a model whose input has another number of them."""
    return f"it is of {axes_text(own)}, the model's input of {axes_text(of_input)}"


def axes_of(module: nn.Module) -> int | None:
    """The number of axes of one of PyTorch's layers, or of one derived from them; None of any other layer."""
    names = [kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.")]
    return next((int(name[-2]) for name in names if name[-2:] in ("1d", "2d", "3d")), None)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
