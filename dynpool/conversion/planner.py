"""Decides which resolutions of a traced model are learned, pinned or derived, and what each resizer does.

A resolution is learned if one of its resizers can be rewritten and nothing pins it. Its other resizers are tied if they
start from the same resolution as that one, else they follow. The output of a layer that cannot be rewritten has a
derived resolution, with the arithmetic of that layer; other resizers to it follow. A pinned resolution keeps its size:
resizers to it resize back, and a learned resolution that a layer that cannot be rewritten connects to it is pinned as
well. Planning restarts with each new constraint.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from dynpool.graph import Graph, Resize
from dynpool.resolution import Derived, Learned, Pinned, ResolutionNode
from dynpool.size_math import Size

from .constraints import Plans, pinned_by_graph, with_ratios_kept
from .plan import Arithmetic, Ratio, ResolutionPlan, Role, alike
from .registry import Plan
from .report import FIXED_OUTPUT
from .size_groups import Group, Key, groups, source_key

__all__ = ["plan_resolutions"]


class Pin(NamedTuple):
    """Constraint: one or two resolutions must keep their sizes."""

    key: Key
    why: str
    other: Key | None = None


class MultipleOf(NamedTuple):
    """Constraint: a learned size must be a multiple of a number of pixels, one for each axis."""

    key: Key
    multiple: Size


@dataclass
class _Planner:
    """One attempt at a plan, with the constraints known so far."""

    graph: Graph
    plans: Plans
    pinned: Mapping[Key, str]
    multiples: Mapping[Key, Size]
    plan: ResolutionPlan = field(default_factory=ResolutionPlan)
    index: dict[Key, int] = field(default_factory=dict)  # in the tree

    def __post_init__(self) -> None:
        self.nodes, self.roles = self.plan.nodes, self.plan.roles

    def plan_of(self, resize: Resize) -> Plan | None:
        plan = self.plans[resize.node]
        return plan if isinstance(plan, Plan) else None

    def refusal(self, resize: Resize) -> str:
        """Why the resizer cannot be rewritten; empty if it can be."""
        plan = self.plans[resize.node]
        return plan if isinstance(plan, str) else ""

    # --- the tree so far ----------------------------------------------------------------------------------------------

    def add_input(self) -> None:
        axes = [d.axis for d in self.graph.dims(self.graph.input_id)[-self.graph.ndim :]]
        self.nodes.append(ResolutionNode("input", None, self.graph.input_size[1:]))
        known = [self.graph.classes.find(axis) for axis in axes if axis is not None]
        if len(known) == len(axes):
            self.index[tuple(known)] = 0

    def node_of(self, key: Key | None) -> int | None:
        """The node of a resolution, if it has one; a fixed multiple of a node gets a node of its own."""
        if key is None or key in self.index:
            return None if key is None else self.index[key]
        base, parts = self.base(key)
        if set(parts) == {1} or base not in self.index or key in self.pinned:
            return None
        parent = self.index[base]
        shown = parts[:1] if len(set(parts)) == 1 else parts
        name = f"{self.nodes[parent].name} x {', '.join(map(str, shown))}"
        ratio = Ratio(parts)
        return self.add(name, key, parent, ratio, Derived(ratio))

    def base(self, key: Key) -> tuple[Key, tuple[Fraction, ...]]:
        """The resolution that one is a fixed multiple of, and the multiples per axis."""
        bases = [self.graph.classes.base(axis) for axis in key]
        return tuple(axis for axis, _ in bases), tuple(part for _, part in bases)

    def add(
        self, name: str, key: Key, parent: int, original: Arithmetic | Ratio, rule: Learned | Pinned | Derived
    ) -> int:
        taken = {n.name for n in self.nodes}
        names = itertools.chain([name], (f"{name}#{k}" for k in itertools.count(2)))
        index = self.index[key] = len(self.nodes)
        self.nodes.append(ResolutionNode(next(n for n in names if n not in taken), parent, self.reference(key), rule))
        self.plan.keys[index], self.plan.original[index] = key, original
        return index

    def reference(self, key: Key) -> Size:
        return tuple(map(self.graph.classes.reference, key))

    def learned_above(self, node: int | None) -> int | None:
        """The nearest learned resolution that the node's size depends on, possibly the node itself."""
        while node is not None:
            rule = self.nodes[node].rule
            if isinstance(rule, Learned):
                return node
            node = None if isinstance(rule, Pinned) else self.nodes[node].parent
        return None

    def pin_learned_above(self, node: int | None, why: str) -> Pin | None:
        """A constraint that pins the learned resolution that the node's size depends on, if there is one."""
        learned = self.learned_above(node)
        return None if learned is None else Pin(self.plan.keys[learned], why)

    def arithmetic(self, resize: Resize, parent: int, key: Key) -> Arithmetic:
        def offset(size: Size, reference: Size) -> Size:
            return tuple(n - r for n, r in zip(size, reference, strict=True))

        before = offset(resize.in_size, self.nodes[parent].reference)
        return Arithmetic(resize, before, offset(resize.out_size, self.reference(key)))

    def multiple(self, key: Key) -> Size:
        planned = self.multiples.get(key, (1,) * len(key))
        return tuple(math.lcm(self.graph.classes.multiple(axis), n) for axis, n in zip(key, planned, strict=True))

    # --- one resolution after another ---------------------------------------------------------------------------------

    def run(self) -> Pin | MultipleOf | None:
        """Plan all resolutions; returns None, or a new constraint with which planning must restart."""
        self.add_input()
        found: Pin | MultipleOf | None
        pending = list(groups(self.graph))
        while pending:
            group = next((g for g in pending if self.first_resizer(g, learnable=True)), None)
            group = group or next((g for g in pending if self.first_resizer(g)), None)
            if group is None:
                if found := self.unlock(pending):
                    return found
                break
            pending.remove(group)
            if found := self.plan_group(group):
                return found
        for group in pending:
            for r in group.members:
                self.roles.append(Role(r, None, "left alone", "its input carries no resolution"))
        if found := self.check():
            return found
        reached = {role.resize.node for role in self.roles}
        for r in self.graph.resizes:
            if r.node not in reached:
                self.roles.append(_unplaced(r))
        self.roles.sort(key=lambda role: role.resize.node)
        return None

    def check(self) -> Pin | None:
        """Check that unchanged layers produce the planned sizes, including those whose input was planned after them."""
        for role in self.roles:
            source = self.node_of(source_key(self.graph, role.resize))
            if role.node is None or source is None or role.rewrite:
                continue
            target = self.nodes[role.node]
            if target.parent == source and isinstance(target.rule, Derived):
                own = self.arithmetic(role.resize, source, self.plan.keys[role.node])
                if alike(own, self.plan.original[role.node]):
                    continue
            why = f"{role.resize.path or role.resize.kind} connects it to another resolution: {role.why}"
            if found := self.pin_learned_above(source, why) or self.pin_learned_above(role.node, why):
                return found
        return None

    def unlock(self, pending: list[Group]) -> Pin | None:
        """A constraint that pins resolutions that depend on each other: one is a multiple of another further on."""
        keys = {g.key for g in pending}
        for group in pending:
            base, _ = self.base(group.key)
            if base != group.key and base in keys and self.first_resizer(group) and group.key not in self.pinned:
                return Pin(group.key, "two resolutions must keep their ratio", other=base)
        return None

    def first_resizer(self, group: Group, *, learnable: bool = False) -> tuple[Resize, int] | None:
        """The first resizer of the group (that can learn its size) whose input has a node, and that node."""
        for r in group.members:
            if learnable and (self.plan_of(r) is None or r.scale is not None):
                continue
            parent = self.node_of(source_key(self.graph, r))
            if parent is not None:
                return r, parent
        return None

    def plan_group(self, group: Group) -> Pin | MultipleOf | None:
        node = self.node_of(group.key)
        if node is not None:
            return self.plan_existing(group, node)
        if group.key in self.pinned:
            return self.plan_pinned(group, self.pinned[group.key])
        if any(self.plan_of(r) is None for r in group.members) or self.first_resizer(group, learnable=True) is None:
            return self.plan_derived(group)
        self.plan_learned(group)
        return None

    def sources(self, group: Group) -> list[tuple[Resize, int | None]]:
        """The resizers of the group, each with the node of its input, if that has one."""
        return [(r, self.node_of(source_key(self.graph, r))) for r in group.members]

    def plan_existing(self, group: Group, node: int) -> Pin | None:
        """Plan resizers to a resolution that has a node: they follow it if their input or output size can change."""
        for r, source in self.sources(group):
            can_change = self.learned_above(source) is not None or self.learned_above(node) is not None
            if can_change and self.plan_of(r) is None:
                why = f"{r.path or r.kind} connects it to another resolution: {self.refusal(r)}"
                return self.pin_learned_above(source, why) or self.pin_learned_above(node, why)
            why = "resizes back to an earlier resolution"
            self.roles.append(
                Role(r, node, "follows" if can_change else "left alone", self.refusal(r) or why, can_change)
            )
        return None

    def plan_pinned(self, group: Group, why: str) -> Pin | None:
        sources = self.sources(group)
        for r, source in sources:
            if self.plan_of(r) is None and (
                found := self.pin_learned_above(source, f"leads to a pinned resolution: {self.refusal(r)}")
            ):
                return found
        first, parent = self.first_resizer(group) or (group.members[0], 0)
        can_change = any(self.learned_above(source) is not None for _, source in sources)
        original = self.arithmetic(first, parent, group.key)
        rule = Pinned(self.reference(group.key)) if can_change else Derived(original)
        node = self.add(group.name, group.key, parent, original, rule)
        for r, _ in sources:
            refusal = self.refusal(r)
            rewrite = can_change and self.plan_of(r) is not None
            self.roles.append(Role(r, node, "left alone" if refusal else "pinned", refusal or why, rewrite))
        return None

    def plan_derived(self, group: Group) -> Pin | MultipleOf | None:
        """Plan a derived resolution: one layer of the group keeps its own arithmetic and determines the size."""
        sources = self.sources(group)
        unchanged = [(r, p) for r, p in sources if p is not None and self.plan_of(r) is None]
        unchanged = unchanged or [(r, p) for r, p in sources if p is not None and r.scale is not None]
        if not unchanged:  # the input of the layer that determines the size has no node yet, or never will
            refusal = next(self.refusal(r) for r in group.members if self.plan_of(r) is None)
            return Pin(group.key, f"a layer that cannot be rewritten has the same output size: {refusal}")
        first, parent = unchanged[0]
        original = self.arithmetic(first, parent, group.key)
        refusal = self.refusal(first)
        can_change = any(self.learned_above(p) is not None for _, p in sources)
        for r, p in unchanged[1:]:
            agrees = p == parent and alike(original, self.arithmetic(r, p, group.key))
            if can_change and self.plan_of(r) is None and not agrees:
                return Pin(group.key, f"the outputs of layers that cannot be rewritten must agree in size: {refusal}")
        multiple = self.multiple(group.key)
        constrained = self.learned_above(parent) is not None and set(multiple) != {1}
        if constrained and (found := self.multiple_above(parent, original, multiple, group.key)):
            return found
        node = self.add(group.name, group.key, parent, original, Derived(original))
        shared = f"a layer that cannot be rewritten has the same output size: {refusal}"
        for r, _ in sources:
            if r is first and r.scale is not None and not refusal:
                self.roles.append(Role(r, node, "follows", "its output size is its input size times its scale factor"))
            elif self.plan_of(r) is None:
                self.roles.append(Role(r, node, "left alone", self.refusal(r)))
            elif can_change:
                self.roles.append(Role(r, node, "follows", shared, rewrite=True))
            else:
                self.roles.append(Role(r, node, "left alone", shared))
        return None

    def multiple_above(self, parent: int, original: Arithmetic, multiple: Size, key: Key) -> Pin | MultipleOf | None:
        """A constraint on the learned resolution above, so that the derived sizes are multiples of `multiple`."""
        layers: list[Arithmetic | Ratio] = [original]  # from the derived resolution up to the learned one
        above = parent
        while isinstance(self.nodes[above].rule, Derived):
            layers.append(self.plan.original[above])
            above = self.nodes[above].parent or 0
        steps = [layer.steps for layer in layers]
        needed = tuple((math.prod(s[axis] for s in steps) * n).numerator for axis, n in enumerate(multiple))
        learned = self.nodes[above].rule

        def derived_size(size: Size) -> Size:
            for layer in reversed(layers):
                size = layer(size)
            return size

        tried = (derived_size(tuple(k * n for n in needed)) for k in range(1, 9))
        holds = all(n % m == 0 for size in tried for n, m in zip(size, multiple, strict=True))
        if not holds or not isinstance(learned, Learned):
            return Pin(key, f"its size must be a multiple of {multiple}")
        if any(n % m for n, m in zip(learned.multiple, needed, strict=True)):
            return MultipleOf(self.plan.keys[above], needed)
        return None

    def plan_learned(self, group: Group) -> None:
        first, parent = self.first_resizer(group, learnable=True) or (group.members[0], 0)
        original = self.arithmetic(first, parent, group.key)
        node = self.add(group.name, group.key, parent, original, Learned(self.multiple(group.key)))
        for r, source in self.sources(group):
            if r is first:
                role = Role(r, node, "converted", rewrite=True)
            elif source == parent and r.scale is None:
                role = Role(r, node, "tied", rewrite=True)
            else:
                why = "another layer determines its output size, from another resolution"
                role = Role(r, node, "follows", why, rewrite=True)
            self.roles.append(role)


def _unplaced(resize: Resize) -> Role:
    if resize.given:
        return Role(resize, None, "follows", "the model's code computes its output size from other sizes")
    why = FIXED_OUTPUT if resize.fixed else "its output carries no resolution"
    return Role(resize, None, "left alone", why)


def plan_resolutions(graph: Graph, plans: Plans, pinned_before: Mapping[Key, str]) -> ResolutionPlan:
    """The plan of the resolutions and resizers of a model, made anew until no constraint is found.

    This terminates, as each constraint pins a resolution or enlarges the multiple of one.

    Args:
        graph: the structure of a :class:`~dynpool.graph.survey.Survey`.
        plans: how each resizer could be rewritten, or why it cannot be, by its node in the graph.
        pinned_before: resolutions that cannot change for reasons that the graph does not show, with the reasons.
    """
    pinned, multiples = pinned_by_graph(graph, pinned_before), dict[Key, Size]()
    plans = with_ratios_kept(graph, plans, pinned)
    while True:
        planner = _Planner(graph, plans, pinned, multiples)
        match planner.run():
            case None:
                return planner.plan
            case Pin(key, why, other):
                if key in pinned:
                    raise RuntimeError(f"the resolution {key} is already pinned, but its size can change: {why}")
                pinned |= {key: why, other or key: why}
            case MultipleOf(key, multiple):
                before = planner.multiple(key)
                multiples[key] = tuple(map(math.lcm, before, multiple))
