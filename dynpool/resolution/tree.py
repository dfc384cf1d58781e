"""The tree of resolutions of a converted model: learned alphas, and all sizes of a pass computed on the host.

    size(child) = output_size(size(parent), strides(alpha))       by the arithmetic of the resizer in use
                = multiple * max(1, round(output_size(...) / multiple))       where sizes must be multiples

The sizes are computed once, before the model runs, from the input's size down the tree; each resizer is handed its own.
Where a part of the model runs by itself, its resizers find theirs from the maps that arrive (:mod:`.pass_sizes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import torch
import torch.fx
from torch import Tensor, nn

from dynpool.resizers.learned_resizer import (
    Chain,
    LearnedResizer2d,
    as_pair,
    constrain_pools,
    host_alphas,
    is_own,
    set_alpha,
    usable_alphas,
)
from dynpool.size_math import round_to_multiple

from .compiled_sizes import OpenSizes, open_size
from .pass_sizes import KnownSizes, Sizes
from .wrappers import the_one

if TYPE_CHECKING:
    from .stride_forms import Strided

__all__ = [
    "ENTRY",
    "FROZEN_ALPHAS",
    "GiveSize",
    "ResolutionNode",
    "ResolutionTree",
    "Slot",
    "attach_tree",
    "bounds_around",
    "converted_model",
    "detach_tree",
    "from_bits",
    "frozen_bits",
    "is_converted",
    "resolution_tree",
    "to_bits",
]

Pair = tuple[int, int]
AlphaPair = tuple[float, float]

ENTRY = "dynpool"  # of the metadata of a converted or frozen module in a state dict
FROZEN_ALPHAS = "frozen_sizes"  # buffer of a frozen model

_ATTRIBUTE = "_dynpool_tree"
_OUTSIDE = "its sizes are computed before each pass by code that is not recorded; freeze it first (dynpool.freeze)"


@dataclass
class Slot:
    """What one resizer resizes to: its resolution's size times `multiple` plus `offset` pixels, per axis."""

    resolution: int
    offset: Pair = (0, 0)
    multiple: Pair = (1, 1)
    height: int = 0  # of the output in pixels, filled in before the model runs, as is the width
    width: int = 0
    strided: Strided | None = None  # the stride of the layer in front, if this resizer does what the stride did
    key: int | None = None  # under which compiled code finds the resolution's size; None: it takes it as a constant
    source: int | None = None  # the resolution that it resizes from, if that is known
    margin: Pair = (0, 0)  # pixels by which the map that arrives is larger than that resolution

    def target(self, size: Pair) -> Pair:
        h, w = (max(n * m + o, 1) for n, m, o in zip(size, self.multiple, self.offset, strict=True))
        return (h, w)

    def fill(self, size: Pair) -> None:
        """Take note of the size that the resolution has in the next pass."""
        self.height, self.width = self.target(size)


@dataclass
class ResolutionNode:
    """A node of the tree. Without a parent it is the input; its size follows from alpha, is fixed, or is derived."""

    name: str
    parent: int | None
    reference: Pair  # size at the conversion, pixels
    pool: LearnedResizer2d | None = None  # owns the alpha
    fixed: Pair | None = None  # pinned to this size
    derive: Callable[[Pair], Pair] | None = None  # follows from the parent by the arithmetic of a layer left alone
    multiple: Pair = (1, 1)  # a learned size is rounded to multiples of so many pixels
    strides: AlphaPair | None = None  # of that layer, if what is counted in fractions of pixels is to pass it unrounded
    lowest: Pair = (1, 1)  # learned sizes in pixels at which the model runs, from here ...
    highest: tuple[float, float] = (math.inf, math.inf)  # ... to here
    limited_by: str = ""  # what happens beyond them; empty: nothing

    def admit(self, size: Pair) -> Pair:
        """The size nearest to the given one, in pixels, that the model can have here."""
        h, w = (
            int(min(max(round_to_multiple(n, m), low), high))
            for n, m, low, high in zip(size, self.multiple, self.lowest, self.highest, strict=True)
        )
        return (h, w)

    def admitted(self) -> str:
        """The sizes that :meth:`admit` leaves as they are, in words."""
        said = [f"(height, width) in multiples of {self.multiple} pixels"]
        for axis, low, high in zip(("height", "width"), self.lowest, self.highest, strict=True):
            if low == high:
                said.append(f"{axis} {low}")
            elif (low, high) != (1, math.inf):
                ends = [f"at least {low}"] * (low > 1) + [f"at most {high}"] * (high < math.inf)
                said.append(f"{axis} {' and '.join(ends)}")
        return ", ".join(said) + (f" ({self.limited_by})" if self.limited_by else "")


class Budget(Protocol):
    """A hard ceiling on the work of the whole model."""

    def allows(self, alphas: Sequence[AlphaPair]) -> bool: ...


class GiveSize:
    """A forward pre-hook: hands a resizer the size of its resolution."""

    def __init__(self, slot: Slot, tree: ResolutionTree) -> None:
        self.slot, self.tree = slot, tree

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        slot = self.slot
        exporting = torch.compiler._is_exporting_flag  # to compiled code is_exporting() is always True in torch 2.11
        if torch.compiler.is_dynamo_compiling() and slot.key is not None and not exporting:
            return args, {**kwargs, "size": slot.target(open_size(slot.key))}
        if slot.key is not None and any(isinstance(x, torch.fx.Proxy) for x in args):
            raise TypeError(f"torch.fx cannot trace a converted model: {_OUTSIDE}")
        x = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(x, Tensor) and not torch.compiler.is_dynamo_compiling():
            self.tree.meet(slot, x)
        return args, {**kwargs, "size": (slot.height, slot.width)}


@dataclass
class ResolutionTree:
    """All resolutions of a converted model, parents before children; node 0 is the input."""

    input_size: tuple[int, int, int]
    nodes: list[ResolutionNode] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)  # by the resizer's module path
    resizers: dict[str, nn.Module] = field(default_factory=dict)  # by the same, from the conversion on
    trust: float = 0.1
    budget: Budget | None = None
    batch: int | None = None  # images of a traced pass, where one is not enough
    description: dict[str, Any] | None = None  # how the model came by it (dynpool.resolution.description)
    frozen: Sequence[AlphaPair] | None = None  # what the parameters held, in a frozen model
    running: bool = False  # whether a pass of the whole model is
    _known: KnownSizes | None = None
    _values: list[AlphaPair] = field(default_factory=list)  # of the alphas that those sizes follow from
    _accepted: list[AlphaPair] = field(default_factory=list)
    _locked: bool = False
    _tried: Mapping[int, Pair] = field(default_factory=dict)
    _open: OpenSizes | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy has open sizes of its own, under keys of their own."""
        self.__dict__.update(state)
        self.running = self._locked = False
        self._set_keys()

    def open_sizes(self, *, open: bool = True) -> None:
        """Let compiled code serve whatever sizes are learned; or else take those of its first pass as constants."""
        self._open = OpenSizes([node.reference for node in self.nodes]) if open else None
        self._set_keys()

    def _set_keys(self) -> None:
        for slot in self.slots.values():
            slot.key = None if self._open is None else self._open.keys[slot.resolution]

    @property
    def pools(self) -> list[LearnedResizer2d]:
        """The resizers that own an alpha, in the order of the tree."""
        return [n.pool for n in self.nodes if n.pool is not None]

    def sizes_at(
        self, hw: Pair, alphas: Sequence[AlphaPair] | None = None, *, given: Mapping[int, Pair] | None = None
    ) -> list[Pair]:
        """Size in pixels of every node for an input of `hw` pixels, at the current or the given alphas.

        Nodes in `given`, by their place in the tree, have the sizes given there.
        """
        return [pixels for pixels, _ in self._sizes_with_fractions(hw, alphas, given)]

    def above(self, index: int, hw: Pair, alphas: Sequence[AlphaPair]) -> AlphaPair:
        """The size that the resizer of a node computes its own from: its parent's, with the fraction if it keeps it."""
        node = self.nodes[index]
        pixels, exact = self._sizes_with_fractions(hw, alphas)[node.parent or 0]
        return exact if node.pool is not None and node.pool.keeps_fractions else pixels

    def _sizes_with_fractions(
        self, hw: Pair, alphas: Sequence[AlphaPair] | None = None, given: Mapping[int, Pair] | None = None
    ) -> list[tuple[Pair, AlphaPair]]:
        """Of every node the size in pixels, and the same with the fraction that some resizers hand on."""
        pools = self.pools
        values = usable_alphas(pools) if alphas is None else alphas
        factors = self.factors_at(hw, values)
        strides = iter(_divided(p.strides(v), factors.get(type(p))) for p, v in zip(pools, values, strict=True))
        sizes: list[tuple[Pair, AlphaPair]] = []
        for node in self.nodes:
            pixels, exact = (hw, hw) if node.parent is None else sizes[node.parent]
            stride = (1.0, 1.0) if node.pool is None else next(strides)
            known = None if given is None else given.get(len(sizes))
            if known is not None:
                sizes.append((known, known))
                continue
            if node.pool is not None:
                above = exact if node.pool.keeps_fractions else pixels
                pixels = self._tried.get(len(sizes)) or node.admit(node.pool.output_size(above, stride))
                sizes.append((pixels, _divided(above, stride) if node.pool.keeps_fractions else pixels))
                continue
            if node.fixed is not None:
                pixels = node.fixed
            elif node.derive is not None:
                pixels = node.derive(pixels)
            elif node.parent is not None:
                raise ValueError(f"resolution {node.name!r} has neither an alpha, a fixed size nor a rule")
            sizes.append((pixels, pixels if node.strides is None else _divided(exact, node.strides)))
        return sizes

    def factors_at(self, hw: Pair, alphas: Sequence[AlphaPair] | None = None) -> dict[type, AlphaPair]:
        """What the classes of resizers that look at whole chains multiply their scale factors by; the others: nothing.

        For an input of `hw` pixels, at the current or the given alphas.
        """
        pools = self.pools
        looking = {type(p) for p in pools if p.looks_at_chains}
        if not looking:
            return {}
        values = usable_alphas(pools) if alphas is None else alphas
        strides = iter(p.strides(v) for p, v in zip(pools, values, strict=True))
        sizes: list[AlphaPair] = []  # without rounding
        chains: list[tuple[LearnedResizer2d, ...]] = []
        for node in self.nodes:
            above = hw if node.parent is None else sizes[node.parent]
            chain = () if node.parent is None else chains[node.parent]
            if node.pool is not None:
                above, chain = _divided(above, next(strides)), (*chain, node.pool)
            elif node.parent is not None:
                ratio = _divided(self.nodes[node.parent].reference, node.reference)
                above = node.fixed or _divided(above, node.strides or ratio)
            sizes.append(above)
            chains.append(chain)
        inner = {n.parent for n in self.nodes}
        ends = [Chain(chain, size) for i, (chain, size) in enumerate(zip(chains, sizes, strict=True)) if i not in inner]
        found = {k: k.chain_factor([c for c in ends if any(type(p) is k for p in c.resizers)]) for k in looking}
        return {k: factor for k, factor in found.items() if factor is not None}

    def sizer(self, hw: Pair, alphas: Sequence[AlphaPair] | None = None) -> Callable[[Any, Pair], Pair]:
        """For `Graph.axis_sizes`: the output size of each resizer for an input of `hw` pixels."""
        sizes = self.sizes_at(hw, alphas)

        def size(resize: Any, _: Pair) -> Pair:
            slot = self.slots[resize.path]
            return slot.target(sizes[slot.resolution])

        return size

    def update(self, hw: Pair) -> None:
        """Bring every slot up to date for a pass of the whole model, whose input has `hw` pixels."""
        if not self._locked:
            self._fill(self._up_to_date().whole(hw))

    def meet(self, slot: Slot, x: Tensor) -> None:
        """Where a part of the model runs by itself, bring a slot up to date for the map that arrives there.

        Raises:
            RuntimeError: if the map does not tell the size.
        """
        if self.running or self._locked or torch._C._is_tracing():
            return
        known = self._up_to_date()
        h, w = x.shape[-2:]
        slot.fill(known.part(slot.source, (h - slot.margin[0], w - slot.margin[1]), slot.resolution))
        self._tell(known.now)

    @property
    def now(self) -> Sequence[Pair | None]:
        """The sizes in the pass that is running or was last; None for those that a part does not tell."""
        return self._up_to_date().now.of

    def _up_to_date(self) -> KnownSizes:
        """The sizes that go with the alphas as they are now."""
        values = self._pass_values()
        if self._known is None or values != self._values:
            before = None if self._known is None else self._known.now.input
            self._known, self._values = self._known_at(values, before or self.input_size[1:]), values
        return self._known

    def _known_at(self, values: Sequence[AlphaPair], hw: Pair) -> KnownSizes:
        exact = not any(pool.keeps_fractions or pool.looks_at_chains for pool in self.pools)
        return KnownSizes(partial(self.sizes_at, alphas=values), exact=exact, hw=hw)

    def _pass_values(self) -> list[AlphaPair]:
        """What the alphas hold, after they have been brought into bounds and under the ceiling."""
        if self.frozen is not None:
            return list(self.frozen)
        pools = self.pools
        constrain_pools(pools, trust=None)
        values = usable_alphas(pools)
        if values == self._values or not all(is_own(pool.shared_alpha()) for pool in pools):
            return values
        self.constrain(trust=math.inf)  # a value written by hand or loaded is not an optimiser's step
        return usable_alphas(pools)

    def _fill(self, sizes: Sizes) -> None:
        for slot in self.slots.values():
            size = sizes.of[slot.resolution]
            if size is not None:
                slot.fill(size)
        self._tell(sizes)

    def _tell(self, sizes: Sizes) -> None:
        """Let compiled code, and resizers that look at the whole network, know of the sizes of a pass."""
        if self._open is not None and not self._locked:
            self._open.fill(sizes.of)
        if sizes.input is not None and any(pool.looks_at_chains for pool in self.pools):
            factors = self.factors_at(sizes.input, self._values)
            for pool in self.pools:
                pool.scaled_by(factors.get(type(pool)))

    def find_resizers(self, model: nn.Module) -> None:
        """Know the resizers by their paths, where the model's layers were wrapped or renamed.

        Raises:
            RuntimeError: if some are not in the model any more.
        """
        if all(_module_at(model, path) is resizer for path, resizer in self.resizers.items()):
            return
        paths = {id(module): path for path, module in model.named_modules()}
        gone = [path for path, resizer in self.resizers.items() if id(resizer) not in paths]
        if gone:
            raise RuntimeError(
                f"{len(gone)} of the {len(self.resizers)} resizers of the converted {type(model).__name__} are not in "
                f"it any more ({gone[0]!r}, ...): their layers were replaced after the conversion. Put them back, or "
                "change the model before it is converted or after it is frozen (dynpool.freeze)"
            )
        self.slots = {paths[id(self.resizers[path])]: slot for path, slot in self.slots.items()}
        self.resizers = {paths[id(resizer)]: resizer for resizer in self.resizers.values()}

    def accept(self) -> None:
        """Take the alphas as they are for those that the next step is held to."""
        self._accepted = host_alphas(self.pools)

    def constrain(self, trust: float | None = None) -> None:
        """Project the alphas into bounds, trust region, limits and budget: one read, writes only what changed."""
        pools = self.pools
        trust = self.trust if trust is None else trust
        constrain_pools(pools, trust=None if trust == math.inf else trust)
        held = host_alphas(pools)
        wanted = self._within_limits(held)
        if self.budget is not None and self._accepted and not self.budget.allows(wanted):
            low, high = 0.0, 1.0  # share of the step that the budget still allows
            for _ in range(20):
                middle = (low + high) / 2
                allowed = self.budget.allows(_between(self._accepted, wanted, middle))
                low, high = (middle, high) if allowed else (low, middle)
            wanted = _between(self._accepted, wanted, low) if low else self._accepted
        for pool, before, values in zip(pools, held, wanted, strict=True):
            if values != before:
                set_alpha(pool, values)
        self._accepted = host_alphas(pools)

    def _within_limits(self, alphas: Sequence[AlphaPair]) -> list[AlphaPair]:
        """The alphas, those changed that lead beyond the sizes that the model can have, at its own input size."""
        values, learned = list(alphas), [i for i, node in enumerate(self.nodes) if node.pool is not None]
        for k, i in enumerate(learned):
            node = self.nodes[i]
            pool = node.pool
            if pool is None or not node.limited_by or pool.looks_at_chains or pool.shared_alpha().numel() == 1:
                continue  # what cannot be set axis by axis is held by its sizes alone
            above = self.above(i, self.input_size[1:], values)
            size = pool.output_size(above, pool.strides(values[k]))
            h, w = (round_to_multiple(n, m) for n, m in zip(size, node.multiple, strict=True))
            nearest = node.admit((h, w))
            if nearest != (h, w):
                at_limit = pool.project(pool.values_for(above, nearest), values[k], None)
                changed = zip((h, w), nearest, values[k], at_limit, strict=True)
                new = tuple(old if n == m else limit for n, m, old, limit in changed)
                values[k] = as_pair(new, f"alpha={new} is not finite")
        return values

    @contextmanager
    def at(self, hw: Pair) -> Iterator[None]:
        """Slots filled for an input of `hw` pixels and left alone by passes meanwhile (tracing replaces the alphas)."""
        before = self._known, self._values, self._locked
        self._values = list(self.frozen) if self.frozen is not None else usable_alphas(self.pools)
        self._known, self._locked = self._known_at(self._values, hw), True
        self._fill(self._known.now)
        try:
            yield
        finally:
            self._known, self._values, self._locked = before

    @contextmanager
    def trying(self, sizes: Mapping[int, Pair]) -> Iterator[None]:
        """Learned resolutions, by their place in the tree, have these sizes meanwhile, whatever the alphas."""
        before = self._tried, self._known
        self._tried, self._known = sizes, None
        try:
            yield
        finally:
            self._tried, self._known = before

    @torch.compiler.disable(
        reason="the sizes of a converted model are computed before its graph: compile the model by itself, and put a "
        "container of PyTorch's into a module of your own before you convert it"
    )
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """As a forward pre-hook of the model."""
        if "_is_replica" not in vars(module):  # of nn.DataParallel, whose modules are others
            self.find_resizers(module)
        for x in (*args, *kwargs.values()):
            if isinstance(x, Tensor) and x.dim() >= 3:
                self.update((x.shape[-2], x.shape[-1]))
                self.running = True
                return

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        """As a forward hook of the model, called in any case."""
        self.running = False

    @property
    def sizes(self) -> list[Pair]:
        """Sizes of the nodes in the last pass of the whole model, or at the conversion's input size."""
        last = None if self._known is None or self._locked else self._known.now.input
        return self.sizes_at(last or self.input_size[1:])


def _module_at(model: nn.Module, path: str) -> nn.Module | None:
    at: nn.Module | None = model
    for name in path.split("."):
        at = None if at is None else at._modules.get(name)
    return at


def _divided(pair: AlphaPair, by: AlphaPair | None) -> AlphaPair:
    return pair if by is None else (pair[0] / by[0], pair[1] / by[1])


def bounds_around(alpha: AlphaPair) -> tuple[float, float]:
    """The default bounds, widened where needed so that an alpha has a factor of two of room on both sides."""
    return (min(1 / 8, 1 / (2 * max(alpha))), max(2.0, 2 / min(alpha)))


def _between(a: Sequence[AlphaPair], b: Sequence[AlphaPair], share: float) -> list[AlphaPair]:
    """Values on the way from `a` to `b`, as float32 holds them: a size can depend on the difference."""
    ways = (tuple(x + (y - x) * share for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True))
    return [as_pair(pair, f"alpha={pair} is not finite") for pair in ways]


def resolution_tree(model: nn.Module) -> ResolutionTree | None:
    """The tree of a converted model, or None; of a wrapper around one, None.

    Raises:
        RuntimeError: if layers of the model were replaced after its conversion, and resizers with them.
    """
    if not is_converted(model):
        return None
    tree: ResolutionTree = vars(model)[_ATTRIBUTE]
    tree.find_resizers(model)
    return tree


def is_converted(model: nn.Module) -> bool:
    """Whether it has a tree."""
    return isinstance(vars(model).get(_ATTRIBUTE), ResolutionTree)


def converted_model(model: nn.Module) -> nn.Module:
    """The converted model in a wrapper; `model` itself if there is none.

    Raises:
        ValueError: if there are several.
    """
    return the_one(model, is_converted, "converted models")


def attach_tree(model: nn.Module, tree: ResolutionTree) -> None:
    """Make `model` compute its sizes from `tree` before each pass."""
    tree.resizers = {path: model.get_submodule(path) for path in tree.slots}
    setattr(model, _ATTRIBUTE, tree)
    model.register_forward_pre_hook(tree, prepend=True, with_kwargs=True)
    model.register_forward_hook(tree.leave, always_call=True)
    model.register_load_state_dict_pre_hook(_keep_alphas)
    setattr(model, "__prepare_scriptable__", _refuse_script)  # noqa: B010 - that name is mangled otherwise
    tree.open_sizes()
    tree.constrain(trust=math.inf)


def _refuse_script() -> NoReturn:
    raise TypeError(f"torch.jit.script cannot compile a converted model: {_OUTSIDE}")


def _keep_alphas(
    model: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any], *args: Any
) -> None:
    """Before loading: a state dict from before the conversion, which has no alphas at all, leaves them as they are.

    That of a frozen model has them under another name.
    """
    tree = resolution_tree(model)
    names = {id(module): f"{prefix}{name}.alpha" for name, module in model.named_modules()}
    alphas = {names[id(pool)]: pool.shared_alpha() for pool in tree.pools} if tree is not None else {}
    frozen = frozen_bits(state_dict, prefix, metadata)
    state_dict.pop(prefix + FROZEN_ALPHAS, None)
    if not any(key in state_dict for key in alphas):
        values = (alpha.detach().clone() for alpha in alphas.values())
        if frozen is not None:
            values = (pair[: a.numel()] for pair, a in zip(from_bits(frozen), alphas.values(), strict=True))
        state_dict.update(zip(alphas, values, strict=True))


def frozen_bits(state_dict: Mapping[str, Any], prefix: str, metadata: Mapping[str, Any]) -> Tensor | None:
    """The alphas in a frozen model's part of a state dict, or None."""
    if prefix + FROZEN_ALPHAS in state_dict:
        bits: Tensor = state_dict[prefix + FROZEN_ALPHAS]
        return bits
    alphas = metadata.get(ENTRY, {}).get("alphas")
    return None if alphas is None else to_bits(alphas)


def to_bits(values: Sequence[AlphaPair]) -> Tensor:
    """Alphas (height, width) as an int32 tensor (n, 2) of their float32 bits, which casting a model leaves alone."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 2).view(torch.int32)


def from_bits(bits: Tensor) -> Tensor:
    """The alphas of :func:`to_bits`, (n, 2), float32."""
    return bits.detach().cpu().contiguous().view(torch.float32)


def detach_tree(model: nn.Module) -> None:
    """Undo `attach_tree` and every `GiveSize`."""
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, GiveSize | ResolutionTree):
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
    for key, hook in list(model._forward_hooks.items()):
        if isinstance(getattr(hook, "__self__", None), ResolutionTree):
            del model._forward_hooks[key]
            model._forward_hooks_always_called.pop(key, None)
    for key, hook in list(model._load_state_dict_pre_hooks.items()):
        if getattr(hook, "hook", None) is _keep_alphas:
            del model._load_state_dict_pre_hooks[key]
    for name in (_ATTRIBUTE, "__prepare_scriptable__"):
        if hasattr(model, name):
            delattr(model, name)
