"""Replace a model's resizers by learned ones, with ties."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

from .axes import Resize
from .conversion_report import ConversionReport, ConversionRow, Status, attach_report, conversion_report
from .fixed import FollowPool2d
from .graph import Graph, check_input_size, trace
from .groups import Group, Key, groups, source_key, structural_trace
from .kinds import Plan, planner_of, resize_after, resize_before, resizer_kinds, stride_one
from .macs import Ceiling, GMACsLoss
from .pool import DynOPool2d
from .resizer import LearnedResizer2d
from .resolution import (
    GiveSize,
    ResolutionNode,
    ResolutionTree,
    Slot,
    attach_tree,
    bounds_around,
    resolution_tree,
)

__all__ = [
    "ConversionReport",
    "ConversionRow",
    "conversion_report",
    "convert",
    "resizer_kinds",
    "sizes",
]

Pair = tuple[int, int]


def _refusal(graph: Graph, modules: dict[str, nn.Module], resize: Resize, order: str, preserve: bool) -> Plan | str:
    module = modules[resize.path]
    planner = planner_of(module)
    if planner is None:
        return f"{resize.kind} called in {type(module).__name__}, which is no known kind of resizer"
    if graph.calls.get(resize.path, 0) != 1:
        return f"the module runs {graph.calls[resize.path]} times in a pass"
    return planner(module, resize, order, preserve)


class _Converter:
    """Builds the tree of a copied model and rewrites its resizers, resolution by resolution."""

    def __init__(
        self, model: nn.Module, graph: Graph, pool: Callable[..., LearnedResizer2d], order: str, preserve: bool
    ) -> None:
        self.model, self.graph, self.pool, self.order, self.preserve = model, graph, pool, order, preserve
        self.modules = dict(model.named_modules())
        self.tree = ResolutionTree(graph.input_size)
        self.index: dict[Key, int] = {}
        self.rows: list[tuple[int, ConversionRow]] = []
        h, w = (d.axis for d in graph.values[graph.input_id].dims[-2:])
        self.tree.nodes.append(ResolutionNode("input", None, (graph.input_size[1], graph.input_size[2])))
        if h is not None and w is not None:
            self.index[(graph.classes.find(h), graph.classes.find(w))] = 0

    def row(self, resize: Resize, resolution: str, status: Status, why: str = "") -> None:
        kind = f"{resize.kind} {resize.kernel[0]}x{resize.kernel[1]} stride {resize.stride[0]}"
        kind += "" if resize.stride[0] == resize.stride[1] else f"x{resize.stride[1]}"
        self.rows.append((resize.node, ConversionRow(resize.path or "(model)", kind, resolution, status, why)))

    def run(self) -> tuple[ResolutionTree, ConversionReport]:
        for group in groups(self.graph):
            self.group(group)
        reached = {r.node for g in groups(self.graph) for r in g.members}
        for resize in self.graph.resizes:
            if resize.node not in reached:
                why = "its output size is fixed" if resize.fixed else "its output carries no resolution"
                self.row(resize, "-", "left alone", why)
        rows = tuple(row for _, row in sorted(self.rows, key=lambda r: r[0]))
        return self.tree, ConversionReport(self.graph.input_size, rows, tuple(sorted(self.graph.not_understood)))

    def group(self, group: Group) -> None:
        classes = self.graph.classes
        reference = (classes.reference(group.key[0]), classes.reference(group.key[1]))
        members = group.members
        known = [(r, self.index.get(source_key(self.graph, r) or (-1, -1))) for r in members]
        opener = next(((r, p) for r, p in known if p is not None), None)
        plans = {r.node: _refusal(self.graph, self.modules, r, self.order, self.preserve) for r in members}
        pin = classes.pinned(group.key[0]) or classes.pinned(group.key[1])
        if group.key[0] == group.key[1]:
            pin = pin or "its height and width must agree"
        if group.key in self.index:  # resized back to a resolution that is there already
            self.refuse(members, self.index[group.key], "resizes back to an earlier resolution")
            return
        if opener is None:
            self.refuse(members, None, "its input carries no resolution of the model's input")
            return
        first, parent = opener
        name = first.path or first.kind
        refused = next((p for p in plans.values() if isinstance(p, str)), None)
        if pin is not None or refused is not None:
            here = self.add(group.key, ResolutionNode(name, parent, reference))
            node = self.tree.nodes[here]
            if pin is not None and refused is None and self.moves(parent):
                node.fixed = reference  # its parent moves, so its resizers must lead back to the pinned size
                for r, p in known:
                    self.rewrite(r, plans[r.node], here, None if p is None else parent, status="pinned", why=pin)
                return
            node.derive = first.output
            for r, _ in known:
                own = plans[r.node]
                why = (
                    own if isinstance(own, str) else pin or f"shares a resolution with one that cannot move: {refused}"
                )
                self.row(r, name, "pinned" if pin is not None and not isinstance(own, str) else "left alone", why)
            if self.moves(parent) and len({p for _, p in known}) > 1:
                raise ValueError(
                    f"cannot convert: {name} must stay as it is ({pin or refused}), but what it joins moves"
                )
            return
        here = self.add(group.key, ResolutionNode(name, parent, reference))
        for r, p in known:
            self.rewrite(r, plans[r.node], here, p, status="converted" if r is first else "tied")

    def moves(self, node: int | None) -> bool:
        """Whether the size of a resolution is learned, or follows from one that is."""
        while node is not None:
            if self.tree.nodes[node].pool is not None:
                return True
            if self.tree.nodes[node].fixed is not None:
                return False
            node = self.tree.nodes[node].parent
        return False

    def add(self, key: Key, node: ResolutionNode) -> int:
        self.tree.nodes.append(node)
        self.index[key] = len(self.tree.nodes) - 1
        return self.index[key]

    def refuse(self, members: list[Resize], node: int | None, why: str) -> None:
        for r in members:
            self.row(r, "-" if node is None else self.tree.nodes[node].name, "left alone", why)

    def rewrite(
        self, resize: Resize, plan: Plan | str, here: int, parent: int | None, *, status: Status, why: str = ""
    ) -> None:
        if isinstance(plan, str):
            raise ValueError(f"cannot convert {resize.path}: {plan}")
        node = self.tree.nodes[here]
        if status == "tied" and parent != node.parent:
            status, why = "follows", "resized from another resolution than the one that sets the size"
        module = self.modules[resize.path]
        pool = self.make_pool(resize, plan, node, status)
        offset = plan.offset
        if plan.place != "before":
            ref = node.reference
            offset = (resize.out_size[0] - ref[0], resize.out_size[1] - ref[1])
        slot = Slot(here, offset, plan.multiple)
        pool.register_forward_pre_hook(GiveSize(slot), with_kwargs=True)
        device = next((p.device for p in module.parameters()), next((p.device for p in self.model.parameters()), None))
        pool.to(device).train(module.training)
        if plan.place == "instead":
            owner, _, leaf = resize.path.rpartition(".")
            self.modules[owner].register_module(leaf, pool)
            self.modules[resize.path] = pool
            self.tree.slots[resize.path] = slot
        else:
            if plan.stride_one:
                stride_one(module)
            module.register_module("resize", pool)
            if plan.place == "after":
                module.register_forward_hook(resize_after)
            else:
                module.register_forward_pre_hook(resize_before)
            self.tree.slots[f"{resize.path}.resize"] = slot
        self.row(resize, node.name, status, why)

    def make_pool(self, resize: Resize, plan: Plan, node: ResolutionNode, status: Status) -> nn.Module:
        if status == "converted":
            above = self.tree.nodes[node.parent or 0].reference
            alpha = (above[0] / node.reference[0], above[1] / node.reference[1])
            node.pool = self.pool(alpha, reduce=plan.reduce, bounds=bounds_around(alpha))
            return node.pool
        if status == "tied" and node.pool is not None:
            return self.pool(reduce=plan.reduce, tied_to=node.pool)
        return FollowPool2d(reduce=plan.reduce)


def convert(
    model: nn.Module,
    input_size: Sequence[int] = (3, 224, 224),
    *,
    pool: Callable[..., LearnedResizer2d] = DynOPool2d,
    order: Literal["after", "before"] = "after",
    preserve: bool = False,
    max_gmacs: float | None = None,
) -> nn.Module:
    """A copy of `model` whose pooling and strided layers resize to learned sizes; the given model is left untouched.

    A strided convolution becomes the same convolution with stride 1 and a resizer behind it (Jang et al., CVPR 2022,
    section 5.1); a pool becomes the resizer (max pools "max", average pools "mean"); layers that cut the map into
    patches (kernel = stride) keep their stride and are resized before. Layers whose outputs meet share one alpha. At
    first every layer has its original size. All names of weights stay; the only new keys of the state dict are the
    alphas'. What was converted, tied, pinned and left alone, and why, is in `conversion_report(model)`.

    Args:
        model: any module that takes one image batch; weights, mode, dtype and device are kept.
        input_size: (C, H, W) in pixels.
        pool: makes the resizers, each a `LearnedResizer2d`: called as `pool(strides, reduce=..., bounds=...)` with the
            strides of the layer replaced, and as `pool(reduce=..., tied_to=...)`.
        order: "after" convolves at stride 1, then resizes (the paper's networks); "before" resizes, then convolves at
            the new size, as cheap as the strided original (what HRNet's printed GMACs imply).
        preserve: resize with the reduction "sample" at the original sizes, so that a pretrained network computes the
            same function before training where its strides divide its sizes.
        max_gmacs: a hard ceiling on the model's GMACs at `input_size`; an optimiser step that would exceed it is cut.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a bad argument, a model that is converted already, cannot run at `input_size`, or has no
            resizer that can be learned; the message says why for each.

    Example:
        >>> from torch import nn
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> learned = convert(vgg, (3, 32, 32))
        >>> sizes(learned, (3, 32, 32))
        {'input': (32, 32), '1': (16, 16)}
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    size = check_input_size(input_size)
    if order not in ("after", "before"):
        raise ValueError(f"order must be 'after' or 'before', got {order!r}")
    if max_gmacs is not None and not max_gmacs > 0:
        raise ValueError(f"max_gmacs must be a positive number, got {max_gmacs!r}")
    if resolution_tree(model) is not None or any(isinstance(m, LearnedResizer2d) for m in model.modules()):
        raise ValueError(f"the {type(model).__name__} has learned resizers already; convert the original model")
    graph = structural_trace(model, size)
    if not any(not r.fixed for r in graph.resizes):
        raise ValueError(f"the {type(model).__name__} has no pooling or strided layer: there is nothing to learn")
    learned = copy.deepcopy(model)
    tree, report = _Converter(learned, graph, pool, order, preserve).run()
    if not report.of("converted"):
        raise ValueError(f"no resizer of the {type(model).__name__} can be learned:\n{report}")
    tree.input_size = size
    attach_report(learned, report)
    attach_tree(learned, tree)
    if max_gmacs is not None:
        _limit(learned, tree, max_gmacs)
    return learned


def _limit(model: nn.Module, tree: ResolutionTree, max_gmacs: float) -> None:
    loss = GMACsLoss(model, tree.input_size)
    ceiling = Ceiling(loss.graph, tree, max_gmacs * 1e9)
    start = loss.value()
    if start > max_gmacs:
        raise ValueError(f"max_gmacs={max_gmacs!r} is below the {start:.6g} GMACs that the converted model starts with")
    tree.budget = ceiling


def sizes(model: nn.Module, input_size: Sequence[int]) -> dict[str, Pair]:
    """Feature-map sizes of a plain or converted model: {name: (height, width)} in pixels, from "input" on.

    Names are the module paths of the layers that open a resolution, the same before and after conversion.

    Raises:
        ValueError: for a bad `input_size`, or when the model cannot run at it.
    """
    size = check_input_size(input_size)
    tree = resolution_tree(model)
    if tree is not None:
        return dict(zip((n.name for n in tree.nodes), tree.sizes_at((size[1], size[2])), strict=True))
    graph = trace(model, size)
    found: dict[str, Pair] = {"input": (size[1], size[2])}
    for group in groups(graph):
        first = group.members[0]
        found[first.path or first.kind] = first.out_size
    return found
