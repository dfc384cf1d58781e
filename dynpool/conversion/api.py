"""Replace a model's resizers by learned ones, with ties."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from dynpool.common.arguments import check_flags, check_model, check_numbers
from dynpool.cost import Ceiling, CostModel, macs_of
from dynpool.graph import Graph, Resize, Survey, check_input_size, deep_copy, trace
from dynpool.resizers import DynOPool2d, FollowInterpolate2d, FollowPool2d, LearnedResizer2d, learned_resizers
from dynpool.resolution import (
    GiveSize,
    Learned,
    ResolutionTree,
    Slot,
    attach_description,
    attach_tree,
    bounds_around,
    check_unwrapped,
    converted_model,
    frozen_sizes,
    resolution_tree,
    unwrapped,
)
from dynpool.size_math import Pair, Size, check_multiple, pair

from . import layer_kinds as planners  # noqa: F401 - registers the kinds of PyTorch and timm
from .dry_run import Limits, find_limits
from .functional_calls import name_calls, shield
from .layer_context import matched, sites
from .plan import Role
from .planner import plan_resolutions
from .registry import Plan, Site, plan_for, planner_of, resizer_kinds
from .report import ConversionReport, ConversionRow, NothingToLearnError, Status, attach_report, conversion_report
from .rewrite import rewrite
from .shared_layers import separate_names, split_calls, unite_runs, where_called
from .size_groups import Key, groups, source_key, target_key
from .unused_resizers import unused_resizers

__all__ = [
    "ConversionReport",
    "ConversionRow",
    "NothingToLearnError",
    "conversion_report",
    "convert",
    "resizer_kinds",
    "sizes",
    "sizes_of",
]

_UNUSED = "nothing that the model returns depends on it, so it would learn nothing"


def _known(module: nn.Module) -> bool:
    return planner_of(module) is not None


def _plan(graph: Graph, here: Graph, modules: dict[str, nn.Module], resize: Resize, site: Site) -> Plan | str:
    plan = plan_for(modules[resize.path], site)
    runs = [r for r in graph.resizes if r.path == resize.path]
    at = {(source_key(graph, r), r.in_size, r.out_size, target_key(graph, r)) for r in runs}
    if isinstance(plan, Plan) and len(at) > 1:
        calls = where_called(here, resize.path)
        return f"the module runs {len(runs)} times in a pass, at different resolutions: {calls}"
    return plan


class _Converter:
    """Builds the resolution tree of a copied model and rewrites its resizers according to the plan."""

    def __init__(
        self, model: nn.Module, seen: Survey, pool: Callable[..., LearnedResizer2d], order: str, preserve: bool
    ) -> None:
        self.model, self.seen, self.pool, self.order, self.preserve = model, seen, pool, order, preserve
        self.graph = graph = seen.structure
        self.modules = dict(model.named_modules())
        self.tree = ResolutionTree(graph.input_size)
        self.keys: dict[int, Key] = {}  # of the resolutions, by their place in the tree
        self.original: list[Size] = []  # their sizes in pixels in the given model, in the same order
        self.rows: list[ConversionRow] = []

    def run(self, multiple_of: Size, held: Mapping[Key, str]) -> tuple[ResolutionTree, ConversionReport]:
        """`held`: resolutions found to be unable to change, and why."""
        size, batch, here = self.seen.input_size, self.seen.batch, self.seen.here
        at = sites(self.graph, here, self.order, self.preserve)
        plans = {r.node: _plan(self.graph, here, self.modules, r, at[r.node]) for r in self.graph.resizes}
        plans.update(dict.fromkeys(unused_resizers(self.model, self.graph, batch), _UNUSED))
        plan = plan_resolutions(self.graph, plans, held)
        self.keys, self.tree.nodes = plan.keys, plan.nodes
        self.tree.input_size, self.tree.batch = size, batch
        traced = [node.reference for node in plan.nodes]
        self.here = matched(self.graph, here)
        plan.place_at(self.here, size[1:])
        self.original = [node.reference for node in plan.nodes]
        self.moved = [
            pair(b - a for a, b in zip(*sizes, strict=True)) for sizes in zip(traced, self.original, strict=True)
        ]
        for node in plan.nodes:
            if isinstance(node.rule, Learned):
                steps = zip(node.reference, node.rule.multiple, multiple_of, strict=True)
                # a size that is no multiple of a window here is padded by the model itself
                node.rule.multiple = pair(math.lcm(m if n % m == 0 else 1, asked) for n, m, asked in steps)
        done: set[str] = set()
        for role in plan.roles:
            how = plans[role.resize.node]
            if role.rewrite and role.node is not None and isinstance(how, Plan) and role.resize.path not in done:
                done.add(role.resize.path)
                self.rewrite(role.resize, how, role.node, role.status)
            self.row(role)
        return self.tree, _reported(self.seen, self.rows)

    def row(self, role: Role) -> None:
        r = role.resize
        kind = f"{r.kind} {r.kernel[0]}x{r.kernel[1]} stride {r.stride[0]}"
        kind += "" if r.stride[0] == r.stride[1] else f"x{r.stride[1]}"
        resolution = "-" if role.node is None else self.tree.nodes[role.node].name
        self.rows.append(ConversionRow(r.path or "(model)", kind, resolution, role.status, role.why))

    def rewrite(self, resize: Resize, plan: Plan, here: int, status: Status) -> None:
        node = self.tree.nodes[here]
        module = self.modules[resize.path]
        with torch.device("cpu"):  # it is moved below, from wherever the default is
            resizer = self.make_resizer(resize, plan, here, status)
        now = self.here.get(resize.node)
        out = now.out_size if now else pair(map(sum, zip(resize.out_size, self.moved[here], strict=True)))
        h, w = (o + m * (n - r) for o, m, n, r in zip(plan.offset, plan.multiple, out, node.reference, strict=True))
        device = next((p.device for p in module.parameters()), next((p.device for p in self.model.parameters()), None))
        resizer.to(device).train(module.training)
        path, strided = rewrite(self.modules, resize, plan, resizer)
        slot = Slot(here, (h, w), plan.multiple, strided=strided, source=self.source(resize, here, status))
        resizer.register_forward_pre_hook(GiveSize(slot, self.tree), with_kwargs=True)
        self.tree.slots[path] = slot

    def source(self, resize: Resize, here: int, status: Status) -> int | None:
        """The index in the tree of the resolution that a resizer resizes from; None if it is not in the tree."""
        if status in ("converted", "tied"):
            return self.tree.nodes[here].parent
        above = source_key(self.graph, resize)
        start = [d.axis for d in self.graph.dims(self.graph.input_id)[-2:]]
        if above is not None and [self.graph.classes.find(a) for a in start if a is not None] == list(above):
            return 0
        return next((i for i, key in self.keys.items() if key == above), None)

    def make_resizer(self, resize: Resize, plan: Plan, here: int, status: Status) -> nn.Module:
        rule = self.tree.nodes[here].rule
        if isinstance(rule, Learned) and status == "converted":
            above, below = self.original[self.tree.nodes[here].parent or 0], self.original[here]
            alpha = (above[0] / below[0], above[1] / below[1])
            rule.resizer = self.made(alpha, reduce=plan.reduce, bounds=bounds_around(alpha))
            return rule.resizer
        if isinstance(rule, Learned) and status == "tied" and rule.resizer is not None:
            return self.made(reduce=plan.reduce, tied_to=rule.resizer)
        if resize.scale is not None:
            return FollowInterpolate2d.of(self.modules[resize.path])
        return FollowPool2d(reduce=plan.reduce)

    def made(self, *args: Pair, **options: Any) -> LearnedResizer2d:
        """The resizer made by `pool`. Raises TypeError, naming `pool`, if it returns anything else."""
        try:
            pool: object = self.pool(*args, **options)
        except TypeError as error:
            how = "pool(strides, reduce=..., bounds=...) and as pool(reduce=..., tied_to=...)"
            raise TypeError(f"pool is {self.pool!r}, which cannot be called as {how}: {error}") from error
        if not isinstance(pool, LearnedResizer2d):
            raise TypeError(f"pool is {self.pool!r}, which made a {type(pool).__name__}, not a LearnedResizer2d")
        return pool


@torch.inference_mode(False)
def convert(
    model: nn.Module,
    input_size: Sequence[int] = (3, 224, 224),
    *,
    pool: Callable[..., LearnedResizer2d] = DynOPool2d,
    order: Literal["after", "before"] = "after",
    preserve: bool = False,
    multiple_of: int | Size = 1,
    max_gmacs: float | None = None,
    batch: int | None = None,
) -> nn.Module:
    """A copy of `model` whose pooling and strided layers resize to learned sizes; `model` itself is not changed.

    A strided convolution becomes the same convolution with stride 1 and a resizer behind it (Jang et al., CVPR 2022,
    section 5.1); a pool becomes the resizer (max pools "max", average pools "mean"); layers that cut the map into
    patches (kernel = stride) keep their stride and are resized before. Layers whose outputs meet share one alpha. A
    pool that the model calls several times (`self.pool`) becomes one for each call, `pool.0`, `pool.1`, ...; a layer
    with weights that runs several times is converted if all its runs start from one resolution. At first every layer
    has its original size. Where later layers need a minimum size (an unpadded kernel, a reflection) or one exact height
    or width, learned sizes stay within those limits. All names of weights are kept; the only new keys of the state dict
    are those of the alphas. `conversion_report(model)` lists what was converted, tied, pinned and left alone, and why.

    Args:
        model: any module that takes one image batch; weights, mode, dtype and device are kept.
        input_size: (C, H, W) in pixels.
        pool: makes the resizers, each a `LearnedResizer2d`: called as `pool(strides, reduce=..., bounds=...)` with the
            strides of the layer replaced, and as `pool(reduce=..., tied_to=...)`.
        order: "after" convolves at stride 1, then resizes (the paper's networks); "before" resizes, then convolves at
            the new size, as cheap as the strided original (what HRNet's printed GMACs imply).
        preserve: resize with the reduction "sample" at the original sizes, so that a pretrained network computes the
            same function before training, at `input_size` and wherever its strides divide its sizes. With
            order="before" the layers then keep their stride and are resized before: no resize at all at first. Where a
            learned size cannot start at the original one (a single pixel, no multiple of a window), there is a warning.
        multiple_of: pixels, one number or (height, width), that every learned size is a multiple of, for hardware
            alignment: multiple_of * max(1, round(size / multiple_of)). Where the model divides maps into windows,
            learned sizes are multiples of the window anyway.
        max_gmacs: a hard ceiling on the model's GMACs at `input_size`; an optimiser step that would exceed it is cut.
        batch: number of images that a pass needs, if more than one (frames of a clip in the batch, a `squeeze()`).

    Raises:
        TypeError: for an argument of the wrong type, or a `pool` that does not return resizers.
        ValueError: for an invalid argument, or a model that is already converted; as a `TraceError` if the model cannot
            run at `input_size`; as a `NothingToLearnError` if no resizer can be learned (its report says why).

    Example:
        >>> from torch import nn
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> learned = convert(vgg, (3, 32, 32))
        >>> sizes(learned, (3, 32, 32))
        {'input': (32, 32), '1': (16, 16)}
    """
    check_model(model)
    check_flags(preserve=preserve)
    size = check_input_size(input_size)
    if order not in ("after", "before"):
        raise ValueError(f"order must be 'after' or 'before', got {order!r}")
    multiples = check_multiple(multiple_of)
    if max_gmacs is not None:
        check_numbers("a positive number", lambda n: 0 < n < math.inf, max_gmacs=max_gmacs)
        max_gmacs = float(max_gmacs)
    if resolution_tree(model) is not None or learned_resizers(model):
        raise ValueError(f"the {type(model).__name__} already has learned resizers; convert the original model")
    if frozen_sizes(model) is not None:
        raise ValueError(f"the {type(model).__name__} is frozen; convert the original model")
    check_unwrapped(model, "convert")
    given = functions = seen = Survey(model, size, batch)
    if all(r.fixed for r in given.structure.resizes):
        raise NothingToLearnError(_reported(given, ()), type(model).__name__)
    held: dict[Key, str] = {}
    while True:
        learned = deep_copy(model)
        if separate_names(learned, _known) and not held:
            functions = Survey(learned, size, batch)
        called = functions.structure
        changed = name_calls(learned, called, _known) | split_calls(learned, called, _known)
        if not held:
            seen = Survey(learned, size, batch) if changed else functions
            unite_runs(seen.structure)
        converter = _Converter(learned, seen, pool, order, preserve)
        differ = seen.modes_differ
        tree, report = converter.run(multiples, held)
        if not report.of("converted"):
            raise NothingToLearnError(report, type(model).__name__)
        shield(learned)
        attach_tree(learned, tree)
        finished = Survey(learned, size)
        limits = find_limits(finished, tree, training=differ)
        stuck = {converter.keys[i]: found.why for i, found in limits.items() if found.stuck}
        if not stuck:
            break
        held |= stuck
    after = finished.here
    for resize in after.resizes:
        if (slot := tree.slots.get(resize.path)) is not None and slot.source is not None:
            above = tree.sizes_at(size[1:])[slot.source]
            slot.margin = pair(n - a for n, a in zip(resize.in_size, above, strict=True))
    _warn_of_changes(given.here, after, tree, converter.original, type(model).__name__, preserve=preserve)
    _warn_of_multiples(multiples, tree, converter.original)
    macs = (macs_of(graph).by_layer for graph in (given.here, after))
    attach_report(learned, _limited(tree, report, limits).with_macs(*macs))
    if max_gmacs is not None:
        cost = CostModel(learned, size, seen=finished)
        if (start := cost.macs() / 1e9) > max_gmacs:
            raise ValueError(
                f"max_gmacs={max_gmacs!r} is below the {start:.6g} GMACs that the converted model starts with"
            )
        tree.budget = Ceiling(cost, max_gmacs * 1e9)
    arguments = {"order": order, "preserve": bool(preserve), "multiple_of": multiples, "max_gmacs": max_gmacs}
    arguments |= {} if batch is None else {"batch": batch}
    attach_description(learned, tree, "dynpool.convert", arguments)
    return learned


def _reported(seen: Survey, rows: Sequence[ConversionRow]) -> ConversionReport:
    graph = seen.structure
    return ConversionReport(seen.input_size, tuple(rows), tuple(sorted(graph.not_understood)), tuple(graph.notes))


def _limited(tree: ResolutionTree, report: ConversionReport, limits: Mapping[int, Limits]) -> ConversionReport:
    """Set the range of sizes at which the model runs, in the tree and in the conversion report."""
    said: dict[str, str] = {}
    for i, rule, _ in tree.learned:
        if i in limits:
            rule.lowest = pair(n or 1 for n in limits[i].lowest)
            rule.highest = pair(math.inf if n is None else n for n in limits[i].highest)
            rule.limited_by = limits[i].why
            said[tree.nodes[i].name] = f"its size is {rule.admitted()}"
    rows = (replace(r, why=said.get(r.resolution, r.why)) if r.status == "converted" else r for r in report.rows)
    return replace(report, rows=tuple(rows))


def _warn_of_changes(
    before: Graph, after: Graph, tree: ResolutionTree, original: Sequence[Size], name: str, *, preserve: bool
) -> None:
    """Warn if maps of the converted model do not start at the sizes they have in the original."""
    moved = [
        f"{node.name} at {now[0]}x{now[1]} instead of {was[0]}x{was[1]} pixels"
        for node, now, was in zip(tree.nodes, tree.sizes_at(tree.input_size[1:]), original, strict=True)
        if now != was
    ]
    if moved:
        if preserve:
            warnings.warn(
                "preserve=True cannot keep the function at this input_size, as learned sizes have at least 2 pixels"
                f" and are multiples of windows and of multiple_of: {', '.join(moved)}",
                stacklevel=4,
            )
        return
    changed = [
        f"{at[0] or 'the model'} returns {after.returns[at][1]} instead of {shapes}"
        for at, (_, shapes) in before.returns.items()
        if at in after.returns and after.returns[at][1] != shapes
    ]
    if changed:
        warnings.warn(
            f"{len(changed)} maps of the converted {name} differ in size from those of the given one"
            f"{', so that preserve=True cannot keep its function' * preserve}: {'; '.join(changed[:3])}",
            stacklevel=4,
        )


def _warn_of_multiples(asked: Size, tree: ResolutionTree, original: Sequence[Size]) -> None:
    """Warn if `multiple_of` makes maps start at twice their sizes or more."""
    grown = [
        f"{node.name} starts at {now[0]}x{now[1]} instead of {was[0]}x{was[1]} pixels"
        for node, now, was in zip(tree.nodes, tree.sizes_at(tree.input_size[1:]), original, strict=True)
        if any(n == m >= 2 * w for n, m, w in zip(now, asked, was, strict=True))
    ]
    if grown:
        warnings.warn(f"multiple_of={asked} is larger than maps of the model: {'; '.join(grown)}", stacklevel=4)


def sizes(model: nn.Module, input_size: Sequence[int], *, batch: int | None = None) -> dict[str, Size]:
    """Feature-map sizes of a plain, converted or frozen model: {name: (height, width)} in pixels, from "input" on.

    Names are the module paths of the layers that open a resolution, the same before and after conversion. `batch` is
    the number of images that a plain model needs, if more than one.

    Raises:
        ValueError: for an invalid `input_size`, or if the model cannot run at it.
    """
    check_model(model)
    return sizes_of(Survey(converted_model(unwrapped(model)), input_size, batch))


def sizes_of(seen: Survey) -> dict[str, Size]:
    """The result of :func:`sizes` for the model of a survey, which is no wrapper."""
    model, size, batch = seen.model, seen.input_size, seen.batch
    tree = resolution_tree(model)
    if tree is not None:
        return dict(zip((n.name for n in tree.nodes), tree.sizes_at((size[1], size[2])), strict=True))
    frozen = frozen_sizes(model)
    if frozen is not None:
        return dict(zip((n.name for n in frozen.tree.nodes), frozen.at((size[1], size[2])), strict=True))
    graph = seen.here
    paths = [group.members[0].path for group in groups(graph)]
    if len(set(paths)) < len(paths):  # one layer, or the functions that one module calls, open several
        copied = deep_copy(model)
        graph = trace(copied, size, batch=batch) if separate_names(copied, _known) else graph
        name_calls(copied, graph, _known)
        split_calls(copied, graph, _known)
        graph = trace(copied, size, batch=batch)
    found: dict[str, Size] = {"input": (size[1], size[2])}
    for group in groups(graph):
        first = group.members[0]
        found[first.path or first.kind] = first.out_size
    return found
