"""The tree of resolutions of a converted model, and the sizes of all its feature maps.

Before each pass, the sizes are computed on the host, from the input down the tree, and each resizer is told its own. If
a part of the model runs on its own, its resizers derive their sizes from their input maps (:mod:`.pass_sizes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.jit._trace import is_tracing

from dynpool.resizers import (
    LearnedResizer,
    as_float32,
    constrain_resizers,
    host_alphas,
    is_own,
    set_alpha,
    usable_alphas,
)
from dynpool.size_math import PerAxis, Size, axes_text

from .compiled_sizes import OpenSizes
from .nodes import Learned, ResolutionNode, Slot, learned_nodes
from .pass_sizes import KnownSizes, Sizes
from .tree_sizes import chain_factors, sizes_with_fractions
from .wrappers import only_module

__all__ = ["ResolutionTree", "converted_model", "is_converted", "put_tree", "resolution_tree"]

_ATTRIBUTE = "_dynpool_tree"
OUTSIDE = "its sizes are computed before each pass, by code that is not recorded; freeze it first (dynpool.freeze)"


class Cost(Protocol):
    """The MACs of the whole model as a function of its alphas."""

    def macs(self, values: Sequence[PerAxis]) -> int: ...


class MacsCeiling(Protocol):
    """A hard limit on the MACs of the whole model; `dynpool.cost.Ceiling` is one."""

    @property
    def cost(self) -> Cost: ...

    @property
    def limit(self) -> float: ...

    def allows(self, alphas: Sequence[PerAxis]) -> bool: ...


@dataclass
class ResolutionTree:
    """All resolutions of a converted model, parents before children; node 0 is the input."""

    input_size: tuple[int, ...]  # channels, and a number of pixels for each axis
    nodes: list[ResolutionNode] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)  # by module path of the resizer
    resizers: dict[str, nn.Module] = field(default_factory=dict)  # by module path; set by the conversion
    trust: float = 0.1
    ceiling: MacsCeiling | None = None
    pass_options: Mapping[str, Any] = field(default_factory=dict)  # what a traced pass needs besides an image
    image_place: tuple[int | None, str | None] | None = None  # position and name of the image; None: the first map
    description: dict[str, Any] | None = None  # how the model was converted (dynpool.resolution.description)
    frozen: Sequence[PerAxis] | None = None  # the fixed values of the alphas in a frozen model
    running: bool = False  # whether the whole model is running
    _known: KnownSizes | None = None
    _values: list[PerAxis] = field(default_factory=list)  # the alphas that `_known` was computed from
    _accepted: list[PerAxis] = field(default_factory=list)  # the alphas that the next step starts from
    _locked: bool = False  # whether `at` keeps the slots as they are
    _overrides: Mapping[int, Size] = field(default_factory=dict)  # learned sizes that `overriding` replaces, by index
    _open: OpenSizes | None = None  # the sizes that compiled code reads; None: it has them as constants

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Give a copy its own open sizes, under new keys."""
        self.__dict__.update(state)
        self.running = self._locked = False
        self._set_keys()

    def open_sizes(self, *, open: bool = True) -> None:
        """Make compiled code read the learned sizes before each pass, or treat those of its first pass as constants."""
        self._open = OpenSizes([node.reference for node in self.nodes]) if open else None
        self._set_keys()

    def _set_keys(self) -> None:
        for slot in self.slots.values():
            slot.key = None if self._open is None else self._open.keys[slot.resolution]

    @property
    def budget(self) -> MacsCeiling | None:
        """The ceiling, by its name in 0.1."""
        return self.ceiling

    @property
    def learned(self) -> list[tuple[int, Learned, LearnedResizer[Any]]]:
        """The learned resolutions by index, with the resizers that own their alphas, parents first."""
        return learned_nodes(self.nodes)

    @property
    def owners(self) -> list[LearnedResizer[Any]]:
        """The resizers that own an alpha, in the order of the tree."""
        return [resizer for _, _, resizer in self.learned]

    def sizes_at(
        self, hw: Size, alphas: Sequence[PerAxis] | None = None, *, given: Mapping[int, Size] | None = None
    ) -> list[Size]:
        """Size in pixels of every node for an input of `hw` pixels, at the current or the given alphas.

        Nodes in `given`, by their index in the tree, have the sizes given there.
        """
        return [pixels for pixels, _ in self._sizes_with_fractions(hw, alphas, given)]

    def resizer_input_size(self, index: int, hw: Size, alphas: Sequence[PerAxis]) -> PerAxis:
        """The input size of a node's resizer: its parent's, unrounded if the resizer keeps fractions."""
        node = self.nodes[index]
        pixels, unrounded = self._sizes_with_fractions(hw, alphas)[node.parent or 0]
        keeps = isinstance(node.rule, Learned) and node.rule.resizer is not None and node.rule.resizer.keeps_fractions
        return unrounded if keeps else pixels

    def _sizes_with_fractions(
        self, hw: Size, alphas: Sequence[PerAxis] | None = None, given: Mapping[int, Size] | None = None
    ) -> list[tuple[Size, PerAxis]]:
        if len(hw) != len(self.input_size) - 1:
            raise ValueError(
                f"the input has {axes_text(len(hw))}, {'x'.join(map(str, hw))} pixels, but the model was converted for "
                f"{axes_text(len(self.input_size) - 1)}: input_size={self.input_size}"
            )
        values = usable_alphas(self.owners) if alphas is None else alphas
        return sizes_with_fractions(self.nodes, hw, values, given=given or {}, learned_sizes=self._overrides)

    def factors_at(self, hw: Size, alphas: Sequence[PerAxis] | None = None) -> dict[type, PerAxis]:
        """A multiplier of the scale factors for each resizer class that normalises them over a chain of resizers.

        For an input of `hw` pixels, at the current or the given alphas; empty if there is no such class.
        """
        return chain_factors(self.nodes, hw, usable_alphas(self.owners) if alphas is None else alphas)

    def sizer(self, hw: Size, alphas: Sequence[PerAxis] | None = None) -> Callable[[Any, Size], Size]:
        """For `Graph.axis_sizes`: the output size of each resizer for an input of `hw` pixels."""
        sizes = self.sizes_at(hw, alphas)

        def size(resize: Any, _: Size) -> Size:
            slot = self.slots[resize.path]
            return slot.target(sizes[slot.resolution])

        return size

    def update(self, hw: Size) -> None:
        """Set every slot for a pass of the whole model with an input of `hw` pixels."""
        if not self._locked:
            self._fill(self._up_to_date().whole(hw))

    def update_slot(self, slot: Slot, x: Tensor) -> None:
        """Set a slot from the size of its input map, if only a part of the model is running.

        Raises:
            RuntimeError: if that map does not determine the size.
        """
        if self.running or self._locked or torch._C._is_tracing():
            return
        known = self._up_to_date()
        extents = zip(x.shape[-len(slot.margin) :], slot.margin, strict=True)
        slot.fill(known.part(slot.source, tuple([n - m for n, m in extents]), slot.resolution))
        self._publish(known.now)

    @property
    def now(self) -> Sequence[Size | None]:
        """The sizes in the current or the last pass; None where a pass of a part of the model did not determine one."""
        return self._up_to_date().now.of

    def _up_to_date(self) -> KnownSizes:
        """The cache of sizes for the current alphas."""
        values = self._pass_values()
        if self._known is None or values != self._values:
            before = None if self._known is None else self._known.now.input
            self._known, self._values = self._known_at(values, before or self.input_size[1:]), values
        return self._known

    def _known_at(self, values: Sequence[PerAxis], hw: Size) -> KnownSizes:
        exact = not any(resizer.keeps_fractions or resizer.looks_at_chains for resizer in self.owners)
        return KnownSizes(partial(self.sizes_at, alphas=values), exact=exact, hw=hw)

    def _pass_values(self) -> list[PerAxis]:
        """The values of the alphas, projected into the bounds and under the ceiling."""
        if self.frozen is not None:
            return list(self.frozen)
        resizers = self.owners
        constrain_resizers(resizers, trust=None)
        values = usable_alphas(resizers)
        if values == self._values or not all(is_own(resizer.shared_alpha()) for resizer in resizers):
            return values
        self.constrain(trust=math.inf)  # the change may be a manual write or a load, which no trust region limits
        return usable_alphas(resizers)

    def _fill(self, sizes: Sizes) -> None:
        for slot in self.slots.values():
            size = sizes.of[slot.resolution]
            if size is not None:
                slot.fill(size)
        self._publish(sizes)

    def _publish(self, sizes: Sizes) -> None:
        """Pass the sizes to compiled code, and the factors to resizers that depend on a chain of resizers."""
        if self._open is not None and not self._locked:
            self._open.fill(sizes.of)
        if sizes.input is not None and any(resizer.looks_at_chains for resizer in self.owners):
            factors = self.factors_at(sizes.input, self._values)
            for resizer in self.owners:
                resizer.scaled_by(factors.get(type(resizer)))

    def find_resizers(self, model: nn.Module) -> None:
        """Update the paths of the resizers, in case the model's layers were wrapped or renamed.

        Raises:
            RuntimeError: if some resizers are no longer in the model.
        """
        if all(_module_at(model, path) is resizer for path, resizer in self.resizers.items()):
            return
        paths = {id(module): path for path, module in model.named_modules()}
        gone = [path for path, resizer in self.resizers.items() if id(resizer) not in paths]
        if gone:
            raise RuntimeError(
                f"{len(gone)} of the {len(self.resizers)} resizers of the converted {type(model).__name__} are no "
                f"longer in it ({gone[0]!r}, ...): their layers were replaced after the conversion. Put them back, or "
                "change the model before it is converted or after it is frozen (dynpool.freeze)"
            )
        self.slots = {paths[id(self.resizers[path])]: slot for path, slot in self.slots.items()}
        self.resizers = {paths[id(resizer)]: resizer for resizer in self.resizers.values()}

    def accept(self) -> None:
        """Use the current alphas as the reference for the trust region of the next step."""
        self._accepted = host_alphas(self.owners)

    def constrain(self, trust: float | None = None) -> None:
        """Project the alphas into bounds, trust region, limits and ceiling; read them once, write those that change."""
        resizers = self.owners
        trust = self.trust if trust is None else trust
        constrain_resizers(resizers, trust=None if trust == math.inf else trust)
        current = host_alphas(resizers)
        wanted = self._within_limits(current)
        if self.ceiling is not None and self._accepted and not self.ceiling.allows(wanted):
            low, high = 0.0, 1.0  # bisect the fraction of the step that the ceiling allows
            for _ in range(20):
                middle = (low + high) / 2
                allowed = self.ceiling.allows(_between(self._accepted, wanted, middle))
                low, high = (middle, high) if allowed else (low, middle)
            wanted = _between(self._accepted, wanted, low) if low else self._accepted
        for resizer, before, values in zip(resizers, current, wanted, strict=True):
            if values != before:
                set_alpha(resizer, values)
        self._accepted = host_alphas(resizers)

    def _within_limits(self, alphas: Sequence[PerAxis]) -> list[PerAxis]:
        """The alphas, changed where they lead to sizes at which the model cannot run with its own input size."""
        values = list(alphas)
        for k, (i, rule, resizer) in enumerate(self.learned):
            if not rule.limited_by or resizer.looks_at_chains or resizer.shared_alpha().numel() < resizer.axes:
                continue  # its axes cannot be set separately; `Learned.admit` limits its sizes anyway
            above = self.resizer_input_size(i, self.input_size[1:], values)
            size = rule.rounded(resizer.output_size(above, resizer.strides(values[k])))
            nearest = rule.admit(size)
            if nearest != size:
                at_limit = resizer.project(resizer.values_for(above, nearest), values[k], None)
                axes = zip(size, nearest, values[k], at_limit, strict=True)
                new = tuple(old if n == m else limit for n, m, old, limit in axes)
                values[k] = as_float32(new, f"alpha={new} is not finite")
        return values

    @contextmanager
    def at(self, hw: Size) -> Iterator[None]:
        """Set the slots for an input of `hw` pixels, and keep them in all passes within the context.

        Tracing needs this: it replaces the alphas with tensors that have no values.
        """
        before = self._known, self._values, self._locked
        self._values = list(self.frozen) if self.frozen is not None else usable_alphas(self.owners)
        self._known, self._locked = self._known_at(self._values, hw), True
        self._fill(self._known.now)
        try:
            yield
        finally:
            self._known, self._values, self._locked = before

    @contextmanager
    def overriding(self, sizes: Mapping[int, Size]) -> Iterator[None]:
        """Within the context, give learned resolutions, by index in the tree, these sizes, whatever the alphas."""
        before = self._overrides, self._known
        self._overrides, self._known = sizes, None
        try:
            yield
        finally:
            self._overrides, self._known = before

    @torch.compiler.disable(
        reason="the sizes of a converted model are computed before its graph: compile the model by itself; wrap one of "
        "PyTorch's own containers in a module of your own before you convert it"
    )
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The forward pre-hook of the model."""
        if is_tracing():
            raise TypeError(f"torch.jit.trace cannot record a converted model: {OUTSIDE}")
        if "_is_replica" not in vars(module):  # a replica of nn.DataParallel has other module objects
            self.find_resizers(module)
        size = self.image_size(args, kwargs)
        if size is not None:
            self.update(size)
            self.running = True

    def image_size(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Size | None:
        """The extents of the image, (height, width) or others, among the arguments of a pass."""
        axes = len(self.input_size) - 1
        maps: Sequence[Any] = (*args, *kwargs.values())
        if self.image_place is not None:
            position, name = self.image_place
            maps = (kwargs.get(name or ""), *(args[position : position + 1] if position is not None else ()))
        for x in maps:
            if isinstance(x, Tensor) and x.dim() > axes:
                return tuple(x.shape[-axes:])
        return None

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        """The forward hook of the model, which PyTorch calls even after an error."""
        self.running = False

    @property
    def sizes(self) -> list[Size]:
        """Sizes of the nodes in the last pass of the whole model, or at the conversion's input size."""
        last = None if self._known is None or self._locked else self._known.now.input
        return self.sizes_at(last or self.input_size[1:])


def _module_at(model: nn.Module, path: str) -> nn.Module | None:
    at: nn.Module | None = model
    for name in path.split("."):
        at = None if at is None else at._modules.get(name)
    return at


def _between(a: Sequence[PerAxis], b: Sequence[PerAxis], share: float) -> list[PerAxis]:
    """Values between `a` and `b`, rounded to float32: a size can depend on the rounding."""
    found = (tuple(x + (y - x) * share for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True))
    return [as_float32(values, f"alpha={values} is not finite") for values in found]


def resolution_tree(model: nn.Module) -> ResolutionTree | None:
    """The tree of a converted model; None for any other module, wrappers of converted models included.

    Raises:
        RuntimeError: if layers of the model were replaced after its conversion, and resizers with them.
    """
    if not is_converted(model):
        return None
    tree: ResolutionTree = vars(model)[_ATTRIBUTE]
    tree.find_resizers(model)
    return tree


def is_converted(model: nn.Module) -> bool:
    """Whether the module itself is a converted model, not only a wrapper around one."""
    return isinstance(vars(model).get(_ATTRIBUTE), ResolutionTree)


def converted_model(model: nn.Module) -> nn.Module:
    """The converted model inside a wrapper; `model` itself if there is none.

    Raises:
        ValueError: if there are several.
    """
    return only_module(model, is_converted, "converted models")


def put_tree(model: nn.Module, tree: ResolutionTree | None) -> None:
    """Set the tree that `resolution_tree(model)` returns; None removes it."""
    if tree is not None:
        setattr(model, _ATTRIBUTE, tree)
    elif hasattr(model, _ATTRIBUTE):
        delattr(model, _ATTRIBUTE)
