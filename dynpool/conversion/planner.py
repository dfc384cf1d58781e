"""Plans the status of each resolution and resizer of a traced model; nothing is changed here.

A resolution is learned if one of its resizers can be and nothing pins it. Resizers that lead to it from the same
resolution are tied, others follow its size. A layer that cannot be rewritten keeps its own arithmetic: its resolution
is derived, and other resizers to that resolution follow. A pinned resolution keeps its size: resizers lead back to it,
and a resolution that leads to it without such a resizer is pinned as well. Each new constraint restarts the planning.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    also: Key | None = None


class Demand(NamedTuple):
    """Constraint: a learned size must be a multiple of a number of pixels (height, width)."""

    key: Key
    multiple: Size


@dataclass
class _Planner:
    """One attempt at a plan, with the constraints known so far."""

    graph: Graph
    plans: Plans
    pinned: Mapping[Key, str]
    demands: Mapping[Key, Size]
    plan: ResolutionPlan = field(default_factory=ResolutionPlan)
    index: dict[Key, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes, self.roles = self.plan.nodes, self.plan.roles

    def plan_of(self, resize: Resize) -> Plan | None:
        plan = self.plans[resize.node]
        return plan if isinstance(plan, Plan) else None

    def refusal(self, resize: Resize) -> str:
        plan = self.plans[resize.node]
        return plan if isinstance(plan, str) else ""

    # --- the tree so far ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        h, w = (d.axis for d in self.graph.dims(self.graph.input_id)[-2:])
        self.nodes.append(ResolutionNode("input", None, self.graph.input_size[1:]))
        if h is not None and w is not None:
            self.index[self.graph.classes.find(h), self.graph.classes.find(w)] = 0

    def node_of(self, key: Key | None) -> int | None:
        """The node of a key; one that is a fixed multiple of a node becomes a node of its own."""
        if key is None or key in self.index:
            return None if key is None else self.index[key]
        (h, rh), (w, rw) = (self.graph.classes.base(a) for a in key)
        if (rh == 1 and rw == 1) or (h, w) not in self.index or key in self.pinned:
            return None
        above = self.index[h, w]
        name = f"{self.nodes[above].name} x {rh}" + ("" if rh == rw else f", {rw}")
        ratio = Ratio(rh, rw)
        return self.add(name, key, above, ratio, Derived(ratio))

    def add(
        self, name: str, key: Key, parent: int, original: Arithmetic | Ratio, rule: Learned | Pinned | Derived
    ) -> int:
        taken = {n.name for n in self.nodes}
        names = itertools.chain([name], (f"{name}#{k}" for k in itertools.count(2)))
        here = self.index[key] = len(self.nodes)
        self.nodes.append(ResolutionNode(next(n for n in names if n not in taken), parent, self.reference(key), rule))
        self.plan.keys[here], self.plan.original[here] = key, original
        return here

    def reference(self, key: Key) -> Size:
        return (self.graph.classes.reference(key[0]), self.graph.classes.reference(key[1]))

    def learned_above(self, node: int | None) -> int | None:
        """The nearest learned resolution that the node's size depends on, possibly the node itself."""
        while node is not None:
            here = self.nodes[node]
            if isinstance(here.rule, Learned):
                return node
            node = None if isinstance(here.rule, Pinned) else here.parent
        return None

    def pin_learned_above(self, node: int | None, why: str) -> Pin | None:
        """The constraint that pins the learned resolution that the node depends on, if there is one."""
        above = self.learned_above(node)
        return None if above is None else Pin(self.plan.keys[above], why)

    def arithmetic(self, resize: Resize, parent: int, key: Key) -> Arithmetic:
        def beyond(size: Size, reference: Size) -> Size:
            return (size[0] - reference[0], size[1] - reference[1])

        source = beyond(resize.in_size, self.nodes[parent].reference)
        return Arithmetic(resize, source, beyond(resize.out_size, self.reference(key)))

    def multiple(self, key: Key) -> Size:
        h, w = (self.graph.classes.multiple(a) for a in key)
        more = self.demands.get(key, (1, 1))
        return (math.lcm(h, more[0]), math.lcm(w, more[1]))

    # --- resolution by resolution -------------------------------------------------------------------------------------

    def run(self) -> Pin | Demand | None:
        """Plan all resolutions; None if that succeeds, else a new constraint, with which planning must restart."""
        self.start()
        found: Pin | Demand | None
        pending = list(groups(self.graph))
        while pending:
            group = next((g for g in pending if self.first_placed(g, learnable=True)), None)
            group = group or next((g for g in pending if self.first_placed(g)), None)
            if group is None:
                if found := self.unlock(pending):
                    return found
                break
            pending.remove(group)
            if found := self.plan_group(group):
                return found
        for group in pending:
            for r in group.members:
                self.roles.append(Role(r, None, "left alone", "its input carries no resolution of the model's input"))
        if found := self.check():
            return found
        reached = {role.resize.node for role in self.roles}
        for r in self.graph.resizes:
            if r.node not in reached:
                self.roles.append(_unplaced(r))
        self.roles.sort(key=lambda role: role.resize.node)
        return None

    def check(self) -> Pin | None:
        """Check that unchanged layers produce the planned sizes, also those planned before their input was placed."""
        for role in self.roles:
            source = self.node_of(source_key(self.graph, role.resize))
            if role.node is None or source is None or role.rewrite:
                continue
            target = self.nodes[role.node]
            if target.parent == source and isinstance(target.rule, Derived):
                own = self.arithmetic(role.resize, source, self.plan.keys[role.node])
                if alike(own, self.plan.original[role.node]):
                    continue
            why = f"{role.resize.path or role.resize.kind} ties it to another resolution: {role.why}"
            if found := self.pin_learned_above(source, why) or self.pin_learned_above(role.node, why):
                return found
        return None

    def unlock(self, pending: list[Group]) -> Pin | None:
        """Pin resolutions that are multiples of one below them, and so depend on each other."""
        keys = {g.key for g in pending}
        for group in pending:
            (h, _), (w, _) = (self.graph.classes.base(a) for a in group.key)
            if (h, w) != group.key and (h, w) in keys and self.first_placed(group) and group.key not in self.pinned:
                return Pin(group.key, "two resolutions must keep their ratio", also=(h, w))
        return None

    def first_placed(self, group: Group, *, learnable: bool = False) -> tuple[Resize, int] | None:
        """The first resizer of the group that comes from a resolution of the tree, and that resolution."""
        for r in group.members:
            if learnable and (self.plan_of(r) is None or r.scale is not None):
                continue
            parent = self.node_of(source_key(self.graph, r))
            if parent is not None:
                return r, parent
        return None

    def plan_group(self, group: Group) -> Pin | Demand | None:
        here = self.node_of(group.key)
        if here is not None:
            return self.plan_existing(group, here)
        if group.key in self.pinned:
            return self.plan_pinned(group, self.pinned[group.key])
        if any(self.plan_of(r) is None for r in group.members) or self.first_placed(group, learnable=True) is None:
            return self.plan_derived(group)
        self.plan_learned(group)
        return None

    def sources(self, group: Group) -> list[tuple[Resize, int | None]]:
        return [(r, self.node_of(source_key(self.graph, r))) for r in group.members]

    def plan_existing(self, group: Group, here: int) -> Pin | None:
        """Plan resizers to an existing resolution: they follow it if any of the sizes can change."""
        for r, source in self.sources(group):
            can_change = self.learned_above(source) is not None or self.learned_above(here) is not None
            if can_change and self.plan_of(r) is None:
                why = f"{r.path or r.kind} leads from it to another resolution: {self.refusal(r)}"
                return self.pin_learned_above(source, why) or self.pin_learned_above(here, why)
            why = "resizes back to an earlier resolution"
            self.roles.append(
                Role(r, here, "follows" if can_change else "left alone", self.refusal(r) or why, can_change)
            )
        return None

    def plan_pinned(self, group: Group, why: str) -> Pin | None:
        known = self.sources(group)
        for r, source in known:
            if self.plan_of(r) is None and (
                found := self.pin_learned_above(source, f"leads to a pinned resolution: {self.refusal(r)}")
            ):
                return found
        first, parent = self.first_placed(group) or (group.members[0], 0)
        can_change = any(self.learned_above(source) is not None for _, source in known)
        original = self.arithmetic(first, parent, group.key)
        rule = Pinned(self.reference(group.key)) if can_change else Derived(original)
        here = self.add(group.name, group.key, parent, original, rule)
        for r, _ in known:
            rewrite = can_change and self.plan_of(r) is not None
            own = self.refusal(r)
            self.roles.append(Role(r, here, "left alone" if own else "pinned", own or why, rewrite))
        return None

    def plan_derived(self, group: Group) -> Pin | Demand | None:
        """Plan a derived resolution: one layer of the group keeps its own arithmetic and determines the size."""
        known = self.sources(group)
        setters = [(r, p) for r, p in known if p is not None and self.plan_of(r) is None]
        setters = setters or [(r, p) for r, p in known if p is not None and r.scale is not None]
        if not setters:  # the input of the layer that determines the size is not placed yet, or never will be
            refused = next(self.refusal(r) for r in group.members if self.plan_of(r) is None)
            return Pin(group.key, f"shares a resolution with one that cannot move: {refused}")
        first, parent = setters[0]
        original = self.arithmetic(first, parent, group.key)
        refused = self.refusal(first)
        can_change = any(self.learned_above(p) is not None for _, p in known)
        for r, p in setters[1:]:
            agrees = p == parent and alike(original, self.arithmetic(r, p, group.key))
            if can_change and self.plan_of(r) is None and not agrees:
                return Pin(group.key, f"layers that cannot be rewritten meet in it: {refused}")
        need = self.multiple(group.key)
        asked = self.learned_above(parent) is not None and need != (1, 1)
        if asked and (found := self.demand_above(parent, original, need, group.key)):
            return found
        here = self.add(group.name, group.key, parent, original, Derived(original))
        for r, _ in known:
            if r is first and r.scale is not None and not refused:
                self.roles.append(Role(r, here, "follows", "its size is that of its input, times its scale factor"))
            elif self.plan_of(r) is None:
                self.roles.append(Role(r, here, "left alone", self.refusal(r)))
            elif can_change:
                why = f"shares a resolution with one that keeps its own arithmetic: {refused}"
                self.roles.append(Role(r, here, "follows", why, rewrite=True))
            else:
                why = f"shares a resolution with one that cannot move: {refused}"
                self.roles.append(Role(r, here, "left alone", why))
        return None

    def demand_above(self, parent: int, original: Arithmetic, need: Size, key: Key) -> Pin | Demand | None:
        """The constraint on the learned resolution above that makes the layer's sizes multiples of `need`."""
        between: list[Arithmetic | Ratio] = [original]
        above = parent
        while isinstance(self.nodes[above].rule, Derived):
            between.append(self.plan.original[above])
            above = self.nodes[above].parent or 0
        steps = [how.steps for how in between]
        h, w = ((math.prod(s[axis] for s in steps) * need[axis]).numerator for axis in (0, 1))
        learned = self.nodes[above].rule

        def gives(size: Size) -> Size:
            for how in reversed(between):
                size = how(size)
            return size

        whole = all(n % m == 0 for k in range(1, 9) for n, m in zip(gives((k * h, k * w)), need, strict=True))
        if not whole or not isinstance(learned, Learned):
            return Pin(key, f"its size must be a multiple of {need}")
        if any(n % m for n, m in zip(learned.multiple, (h, w), strict=True)):
            return Demand(self.plan.keys[above], (h, w))
        return None

    def plan_learned(self, group: Group) -> None:
        first, parent = self.first_placed(group, learnable=True) or (group.members[0], 0)
        original = self.arithmetic(first, parent, group.key)
        here = self.add(group.name, group.key, parent, original, Learned(self.multiple(group.key)))
        for r, source in self.sources(group):
            if r is first:
                role = Role(r, here, "converted", rewrite=True)
            elif source == parent and r.scale is None:
                role = Role(r, here, "tied", rewrite=True)
            else:
                why = "resized from another resolution than the one that sets the size"
                role = Role(r, here, "follows", why, rewrite=True)
            self.roles.append(role)


def _unplaced(resize: Resize) -> Role:
    if resize.given:
        return Role(resize, None, "follows", "the model's code computes its size from the sizes it meets")
    why = FIXED_OUTPUT if resize.fixed else "its output carries no resolution"
    return Role(resize, None, "left alone", why)


def plan_resolutions(graph: Graph, plans: Plans, known: Mapping[Key, str]) -> ResolutionPlan:
    """The plan of the resolutions and resizers of a model, repeated until no new constraint is found.

    This terminates, as each constraint pins a resolution that was free, or multiplies the step of one.

    Args:
        graph: the structure of a :class:`~dynpool.graph.survey.Survey`.
        plans: by node of the graph, how each resizer could be rewritten, or why it cannot be.
        known: resolutions that cannot change for reasons that the graph does not show, with the reasons.
    """
    pinned, demands = pinned_by_graph(graph, known), dict[Key, Size]()
    plans = with_ratios_kept(graph, plans, pinned)
    while True:
        planner = _Planner(graph, plans, pinned, demands)
        match planner.run():
            case None:
                return planner.plan
            case Pin(key, why, also):
                if key in pinned:
                    raise RuntimeError(f"the resolution {key} is already pinned, but its size can change: {why}")
                pinned |= {key: why, also or key: why}
            case Demand(key, multiple):
                before = planner.multiple(key)
                demands[key] = (math.lcm(before[0], multiple[0]), math.lcm(before[1], multiple[1]))
