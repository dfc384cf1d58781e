"""`convert`, which replaces the resizers of a model with learned ones, and `sizes`, of any model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from dynpool.common.arguments import check_flags, check_model, check_numbers
from dynpool.cost import Ceiling, CostModel, macs_of
from dynpool.graph import (
    Graph,
    PassOptions,
    Resize,
    Survey,
    check_input_size,
    deep_copy,
    described,
    keep_options,
    make_inputs,
    trace,
)
from dynpool.resizers import (
    FollowInterpolate,
    FollowPool,
    LearnedResizer,
    check_axes,
    dynopool_class,
    learned_resizers,
)
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
from dynpool.size_math import PerAxis, Size, check_multiple

from . import layer_kinds  # noqa: F401 - registers the resizers of PyTorch and timm
from .dry_run import Limits, find_limits
from .functional_calls import name_calls, shield
from .layer_context import matched, sites
from .other_axes import rows_of_other_axes
from .plan import Role
from .planner import plan_resolutions
from .pools import check_pool, made
from .registry import Plan, Site, plan_for, planner_of, resizer_kinds
from .report import (
    ConversionReport,
    ConversionRow,
    NothingToLearnError,
    Status,
    attach_report,
    conversion_report,
    kind_text,
)
from .rewrite import rewrite
from .shared_layers import separate_names, split_calls, unite_runs, where_called
from .size_groups import Key, groups, source_key, target_key
from .starting_sizes import warn_of_changes, warn_of_multiples
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

_UNUSED = "the model's output does not depend on it, so it would learn nothing"


def _has_planner(module: nn.Module) -> bool:
    return planner_of(module) is not None


def _plan(graph: Graph, at_input_size: Graph, modules: dict[str, nn.Module], resize: Resize, site: Site) -> Plan | str:
    """How a resizer can be rewritten, or why it cannot be."""
    plan = plan_for(modules[resize.path], site)
    runs = [r for r in graph.resizes if r.path == resize.path]
    resolutions = {(source_key(graph, r), r.in_size, r.out_size, target_key(graph, r)) for r in runs}
    if isinstance(plan, Plan) and len(resolutions) > 1:
        calls = where_called(at_input_size, resize.path)
        return f"the module runs {len(runs)} times in a pass, at different resolutions: {calls}"
    return plan


class _Converter:
    """Builds the resolution tree of a copied model and rewrites its resizers according to the plan."""

    def __init__(
        self, model: nn.Module, survey: Survey, pool: Callable[..., LearnedResizer[Any]], order: str, preserve: bool
    ) -> None:
        self.model, self.survey, self.pool, self.order, self.preserve = model, survey, pool, order, preserve
        self.graph = graph = survey.structure
        self.modules = dict(model.named_modules())
        self.tree = ResolutionTree(graph.input_size)
        self.keys: dict[int, Key] = {}  # the axis classes of each resolution, by its index in the tree
        self.original: list[Size] = []  # the size of each resolution in the original model, in pixels
        self.rows = rows_of_other_axes(graph, self.modules)  # by the nodes of the resizers

    def run(self, multiple_of: Size, pinned: Mapping[Key, str]) -> tuple[ResolutionTree, ConversionReport]:
        """Rewrite the model; `pinned` has resolutions that a trial has shown to be unable to change, and why."""
        size, options, at_input_size = self.survey.input_size, self.survey.options, self.survey.at_input_size
        found = sites(self.graph, at_input_size, self.order, self.preserve)
        plans = {r.node: _plan(self.graph, at_input_size, self.modules, r, found[r.node]) for r in self.graph.resizes}
        plans.update(dict.fromkeys(unused_resizers(self.model, self.graph, **options), _UNUSED))
        plan = plan_resolutions(self.graph, plans, pinned)
        self.keys, self.tree.nodes = plan.keys, plan.nodes
        self.tree.input_size = size
        keep_options(self.model, self.tree, options)
        traced = [node.reference for node in plan.nodes]
        self.at_input_size = matched(self.graph, at_input_size)
        plan.place_at(self.at_input_size, size[1:])
        self.original = [node.reference for node in plan.nodes]
        self.shifts = [  # the structure may have been traced at a larger input size
            tuple(b - a for a, b in zip(*sizes, strict=True)) for sizes in zip(traced, self.original, strict=True)
        ]
        for node in plan.nodes:
            if isinstance(node.rule, Learned):
                axes = zip(node.reference, node.rule.multiple, multiple_of, strict=True)
                # if the original size is not a multiple of the window, the model itself pads it
                node.rule.multiple = tuple(math.lcm(m if n % m == 0 else 1, asked) for n, m, asked in axes)
        rewritten: set[str] = set()
        for role in plan.roles:
            how = plans[role.resize.node]
            if role.rewrite and role.node is not None and isinstance(how, Plan) and role.resize.path not in rewritten:
                rewritten.add(role.resize.path)
                self.rewrite(role.resize, how, role.node, role.status)
            self.add_row(role)
        return self.tree, _report(self.survey, self.rows)

    def add_row(self, role: Role) -> None:
        r, resolution = role.resize, "-" if role.node is None else self.tree.nodes[role.node].name
        self.rows[r.node] = ConversionRow(r.path or "(model)", kind_text(r), resolution, role.status, role.why)

    def rewrite(self, resize: Resize, plan: Plan, index: int, status: Status) -> None:
        """Rewrite the layer of a resizer, whose output has the resolution of that index in the tree."""
        node = self.tree.nodes[index]
        module = self.modules[resize.path]
        with torch.device("cpu"):  # not on a default device such as "meta"; it is moved to the model's device below
            resizer = self.resizer_for(resize, plan, index, status)
        now = self.at_input_size.get(resize.node)
        out = now.out_size if now else tuple(map(sum, zip(resize.out_size, self.shifts[index], strict=True)))
        parts = zip(plan.offset, plan.multiple, out, node.reference, strict=True)
        offset = tuple(o + m * (n - r) for o, m, n, r in parts)
        device = next((p.device for p in module.parameters()), next((p.device for p in self.model.parameters()), None))
        resizer.to(device).train(module.training)
        path, strided = rewrite(self.modules, resize, plan, resizer)
        source, margin = self.source(resize, index, status), (0,) * resize.axes
        slot = Slot(index, offset, plan.multiple, strided=strided, source=source, margin=margin)
        resizer.register_forward_pre_hook(GiveSize(slot, self.tree), with_kwargs=True)
        self.tree.slots[path] = slot

    def source(self, resize: Resize, index: int, status: Status) -> int | None:
        """The index in the tree of the resolution that a resizer resizes from; None if it is not in the tree."""
        if status in ("converted", "tied"):
            return self.tree.nodes[index].parent
        source = source_key(self.graph, resize)
        of_input = [d.axis for d in self.graph.dims(self.graph.input_id)[-self.graph.ndim :]]
        if source is not None and [self.graph.classes.find(a) for a in of_input if a is not None] == list(source):
            return 0
        return next((i for i, key in self.keys.items() if key == source), None)

    def resizer_for(self, resize: Resize, plan: Plan, index: int, status: Status) -> nn.Module:
        rule = self.tree.nodes[index].rule
        if isinstance(rule, Learned) and status == "converted":
            size_in, size_out = self.original[self.tree.nodes[index].parent or 0], self.original[index]
            alpha = tuple(n / m for n, m in zip(size_in, size_out, strict=True))
            rule.resizer = self.learned_resizer(alpha, reduce=plan.reduce, bounds=bounds_around(alpha))
            return rule.resizer
        if isinstance(rule, Learned) and status == "tied" and rule.resizer is not None:
            return self.learned_resizer(reduce=plan.reduce, tied_to=rule.resizer)
        if resize.scale is not None:
            return FollowInterpolate.of(self.modules[resize.path], resize.axes)
        return FollowPool(reduce=plan.reduce)

    def learned_resizer(self, *args: PerAxis, **options: Any) -> LearnedResizer[Any]:
        return made(self.pool, self.survey.input_size, *args, **options)


@torch.inference_mode(False)
def convert(
    model: nn.Module,
    input_size: Sequence[int] | None = None,
    *,
    pool: Callable[..., LearnedResizer[Any]] | None = None,
    order: Literal["after", "before"] = "after",
    preserve: bool = False,
    multiple_of: int | Size = 1,
    max_gmacs: float | None = None,
    inputs: Any = None,
    batch: int | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """A copy of `model` whose pooling and strided layers resize to learned sizes; `model` itself is not changed.

    A strided convolution becomes the same convolution with stride 1 and a resizer after it (Jang et al., CVPR 2022,
    section 5.1); a pool becomes the resizer (max pools "max", average pools "mean"); a layer that cuts the map into
    patches (kernel = stride) keeps its stride, and its input is resized. Layers whose outputs are combined share one
    alpha. A pool that the model calls several times (`self.pool`) becomes one module per call, `pool.0`, `pool.1`, ...;
    a layer with weights that runs several times is converted if all its runs start from one resolution. At first every
    layer has its original size. Where later layers need a minimum size (an unpadded kernel, reflection padding) or one
    exact height or width, learned sizes stay within these limits. All weights keep their names; the only new keys of
    the state dict are the alphas. `conversion_report(model)` lists what was converted, tied, pinned and left alone, and
    why.

    Args:
        model: any module that takes a batch of images, sequences or volumes, alone or with other arguments; weights,
            mode, dtype and device are kept.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W): sizes are learned along all axes but the channels.
            None: of the first tensor in `inputs`, or (3, 224, 224).
        pool: makes each resizer, a `LearnedResizer` of as many axes: called as `pool(strides, reduce=..., bounds=...)`
            with the strides of the layer that it replaces, or as `pool(reduce=..., tied_to=...)`. None: `DynOPool1d`,
            `DynOPool2d` or `DynOPool3d`.
        order: "after" convolves at stride 1, then resizes (the paper's networks); "before" resizes, then convolves at
            the new size, as cheap as the strided original (what HRNet's printed GMACs imply).
        preserve: resize with the reduction "sample" at the original sizes, so that a pretrained network computes the
            same function before training, at `input_size` and wherever its strides divide its sizes. With
            order="before" the layers then keep their stride and only their inputs are resized, at first not at all.
            Where a learned size cannot start at the original one (a single pixel, not a multiple of a window), a
            warning says so.
        multiple_of: number of pixels, one or one for each axis, that every learned size is a multiple of, for hardware
            alignment: multiple_of * max(1, round(size / multiple_of)). Where the model divides maps into windows,
            learned sizes are multiples of the window anyway.
        max_gmacs: a hard ceiling on the model's GMACs at `input_size`; an optimiser step that would exceed it is cut.
        inputs: the arguments of the model's forward (a tensor, a tuple or a dict by name), if an image is not enough:
            only shapes and dtypes of tensors matter. The image is the first of `input_size`; tensors (..., H, W) of
            three or more dimensions with its height and width are maps like it, made larger and smaller with it, and
            all others stay. Sizes are learned for layers that the image runs through, not for those of a second one.
        batch: number of images that a pass needs, if more than one (clips with frames in the batch, a `squeeze()`).
        dtype: of the images, such as torch.uint8 for a model that normalises them; default: that of the weights.

    Raises:
        TypeError: for an argument of the wrong type, or a `pool` that does not return resizers.
        ValueError: for an invalid argument, a `pool` of another number of axes, or a model that is already converted;
            as a `TraceError` if the model cannot run at `input_size`; as a `NothingToLearnError` if no resizer can be
            learned (its report says why).

    Example:
        >>> from torch import nn
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> learned = convert(vgg, (3, 32, 32))
        >>> sizes(learned, (3, 32, 32))
        {'input': (32, 32), '1': (16, 16)}
    """
    check_model(model)
    check_flags(preserve=preserve)
    if input_size is None:
        input_size = (3, 224, 224) if inputs is None else make_inputs(None, inputs, torch.float32).size
    size = check_input_size(input_size)
    pool = dynopool_class(len(size) - 1) if pool is None else pool
    check_pool(pool, size)
    if order not in ("after", "before"):
        raise ValueError(f"order must be 'after' or 'before', got {order!r}")
    multiples = check_multiple(multiple_of, len(size) - 1)
    if max_gmacs is not None:
        check_numbers("a positive number", lambda n: 0 < n < math.inf, max_gmacs=max_gmacs)
        max_gmacs = float(max_gmacs)
    if resolution_tree(model) is not None or learned_resizers(model):
        raise ValueError(
            f"model is a {type(model).__name__}, which already has learned resizers; convert the original model"
        )
    if frozen_sizes(model) is not None:
        raise ValueError(f"model is a {type(model).__name__}, which is frozen; convert the original model")
    check_unwrapped(model, "convert")
    options: PassOptions = {"inputs": inputs, "batch": batch, "dtype": dtype}
    given = separated = survey = Survey(model, size, **options)
    if all(r.fixed for r in given.structure.resizes):
        rows = rows_of_other_axes(given.structure, dict(model.named_modules()))
        raise NothingToLearnError(_report(given, rows), type(model).__name__)
    pinned: dict[Key, str] = {}
    while True:  # again with a fresh copy when a trial finds fixed sizes; the surveys of the first copy stay valid
        learned = deep_copy(model)
        if separate_names(learned, _has_planner) and not pinned:
            separated = Survey(learned, size, **options)
        calls = separated.structure
        changed = name_calls(learned, calls, _has_planner) | split_calls(learned, calls, _has_planner)
        if not pinned:
            survey = Survey(learned, size, **options) if changed else separated
            unite_runs(survey.structure)
        converter = _Converter(learned, survey, pool, order, preserve)
        modes_differ = survey.modes_differ
        tree, report = converter.run(multiples, pinned)
        if not report.of("converted"):
            raise NothingToLearnError(report, type(model).__name__)
        shield(learned)
        attach_tree(learned, tree)
        finished = Survey(learned, size)
        limits = find_limits(finished, tree, training=modes_differ)
        fixed = {converter.keys[i]: found.why for i, found in limits.items() if found.fixed}
        if not fixed:
            break
        pinned |= fixed
    before, after = given.at_input_size, finished.at_input_size
    for resize in after.resizes:
        if (slot := tree.slots.get(resize.path)) is not None and slot.source is not None:
            source = tree.sizes_at(size[1:])[slot.source]
            slot.margin = tuple(n - m for n, m in zip(resize.in_size, source, strict=True))
    warn_of_changes(before, after, tree, converter.original, type(model).__name__, preserve=preserve)
    warn_of_multiples(multiples, tree, converter.original)
    macs = (macs_of(graph).by_layer for graph in (before, after))
    attach_report(learned, _with_limits(tree, report, limits).with_macs(*macs))
    if max_gmacs is not None:
        cost = CostModel(learned, size, survey=finished)
        if (start := cost.macs() / 1e9) > max_gmacs:
            raise ValueError(
                f"max_gmacs={max_gmacs!r} is below the {start:.6g} GMACs that the converted model starts with"
            )
        tree.ceiling = Ceiling(cost, max_gmacs * 1e9)
    arguments = {"order": order, "preserve": bool(preserve), "multiple_of": multiples, "max_gmacs": max_gmacs}
    arguments |= described(tree.pass_options)
    attach_description(learned, tree, "dynpool.convert", arguments)
    return learned


def _report(survey: Survey, rows: Mapping[int, ConversionRow]) -> ConversionReport:
    """The report of rows by the nodes of their resizers."""
    graph, by_node = survey.structure, tuple(rows[node] for node in sorted(rows))
    return ConversionReport(survey.input_size, by_node, tuple(sorted(graph.not_understood)), tuple(graph.notes))


def _with_limits(tree: ResolutionTree, report: ConversionReport, limits: Mapping[int, Limits]) -> ConversionReport:
    """Set the sizes at which the model runs in the tree, and return the report with them."""
    ranges: dict[str, str] = {}
    for i, rule, _ in tree.learned:
        if i in limits:
            rule.lowest = tuple(n or 1 for n in limits[i].lowest)
            rule.highest = tuple(math.inf if n is None else n for n in limits[i].highest)
            rule.limited_by = limits[i].why
            ranges[tree.nodes[i].name] = f"its size is {rule.admitted()}"
    rows = (replace(r, why=ranges.get(r.resolution, r.why)) if r.status == "converted" else r for r in report.rows)
    return replace(report, rows=tuple(rows))


def sizes(
    model: nn.Module,
    input_size: Sequence[int],
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Size]:
    """Feature-map sizes of a plain, converted or frozen model: {name: (height, width)} in pixels, from "input" on.

    Of sequences, sizes are (length,), of volumes (depth, height, width).

    Names are the module paths of the layers that open a resolution, the same before and after conversion. `inputs`,
    `batch` and `dtype` are what a pass of a plain model needs, see :func:`dynpool.convert`.

    Raises:
        ValueError: for an invalid `input_size`, or if the model cannot run at it.
    """
    check_model(model)
    survey = Survey(converted_model(unwrapped(model)), input_size, inputs=inputs, batch=batch, dtype=dtype)
    check_axes(model, len(survey.input_size) - 1, "sizes at this input_size")
    return sizes_of(survey)


def sizes_of(survey: Survey) -> dict[str, Size]:
    """The result of :func:`sizes` for the model of a survey, which must not be a wrapper."""
    model, size = survey.model, survey.input_size
    tree = resolution_tree(model)
    if tree is not None:
        return dict(zip((n.name for n in tree.nodes), tree.sizes_at(size[1:]), strict=True))
    frozen = frozen_sizes(model)
    if frozen is not None:
        return dict(zip((n.name for n in frozen.tree.nodes), frozen.at(size[1:]), strict=True))
    graph = survey.at_input_size
    paths = [group.members[0].path for group in groups(graph)]
    if len(set(paths)) < len(paths):  # a layer, or a module that calls functions, opens several resolutions
        copied = deep_copy(model)
        graph = trace(copied, size, **survey.options) if separate_names(copied, _has_planner) else graph
        name_calls(copied, graph, _has_planner)
        split_calls(copied, graph, _has_planner)
        graph = trace(copied, size, **survey.options)
    found: dict[str, Size] = {"input": size[1:]}
    for group in groups(graph):
        first = group.members[0]
        found[first.path or first.kind] = first.out_size
    return found
