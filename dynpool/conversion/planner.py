"""Decide what becomes of each resolution and each resizer of a traced model; nothing is changed here.

A resolution is learned if one of its resizers can be, and nothing holds it. Resizers that lead to it from the same
resolution are tied, others follow its size. What cannot be rewritten keeps its own arithmetic: its resolution is
derived, and whatever joins it follows. A pinned resolution keeps its size: resizers lead back to it, and what leads to
it without a resizer that could is pinned as well. Each such finding starts the plan anew, so that it holds throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from dynpool.graph.axes import Resize
from dynpool.graph.ir import Graph

from .plan import Arithmetic, PlannedNode, Ratio, Role, alike
from .registry import Plan
from .report import FIXED_OUTPUT
from .size_groups import Group, Key, groups, source_key

__all__ = ["plan_resolutions"]

Pair = tuple[int, int]


class _AgainError(Exception):
    """Something was found out that changes the plan from the start."""


@dataclass
class _Planner:
    graph: Graph
    plans: Mapping[int, Plan | str]  # by the resize's node in the graph
    pinned: dict[Key, str] = field(default_factory=dict)
    demands: dict[Key, Pair] = field(default_factory=dict)
    nodes: list[PlannedNode] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)
    index: dict[Key, int] = field(default_factory=dict)

    # --- what is known before ----------------------------------------------------------------------------------------

    def pin_from_start(self, all_groups: list[Group]) -> None:
        classes = self.graph.classes
        seen: dict[int, Key] = {}
        for group in all_groups:
            why = classes.pinned(group.key[0]) or classes.pinned(group.key[1])
            if group.key[0] == group.key[1]:
                why = why or "its height and width must agree"
            for axis in group.key:
                other = seen.setdefault(axis, group.key)
                if other != group.key:
                    why = why or "it shares its height or width with another resolution"
                    self.pinned.setdefault(other, why)
            if why:
                self.pinned[group.key] = why
        for a, b, ratio in classes.ratios():
            self.keep_ratio(all_groups, *((a, b, ratio) if ratio < 1 else (b, a, 1 / ratio)))

    def keep_ratio(self, all_groups: list[Group], above: int, below: int, ratio: Fraction) -> None:
        """Two axes keep their ratio: by layers that lead from one to the other as they are, else both are held."""
        classes = self.graph.classes
        between = [r for g in all_groups if below in g.key for r in g.members]
        why = "the model needs its output to be a fixed part of its input"

        def keeps(r: Resize) -> bool:
            ends = zip(r.source, r.target, r.stride, strict=True)
            return any(
                s is not None and t is not None and classes.find(t) == below and classes.base(s) == (above, n * ratio)
                for s, t, n in ends
            )

        if any(keeps(r) for r in between):
            self.plans = {**self.plans, **{r.node: why for r in between if keeps(r)}}
            return
        for group in all_groups:
            if {above, below} & {*group.key}:
                self.pinned.setdefault(group.key, "two resolutions must keep their ratio")

    def plan_of(self, resize: Resize) -> Plan | None:
        plan = self.plans[resize.node]
        return plan if isinstance(plan, Plan) else None

    def refusal(self, resize: Resize) -> str:
        plan = self.plans[resize.node]
        return plan if isinstance(plan, str) else ""

    # --- the tree so far ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        h, w = (d.axis for d in self.graph.dims(self.graph.input_id)[-2:])
        self.nodes = [PlannedNode("input", None, None, self.graph.input_size[1:], "input")]
        self.roles, self.index = [], {}
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
        return self.add(PlannedNode(name, key, above, self.reference(key), "derived", Ratio(rh, rw)))

    def add(self, node: PlannedNode) -> int:
        taken = {n.name for n in self.nodes}
        name, k = node.name, 2
        while node.name in taken:
            node.name, k = f"{name}#{k}", k + 1
        self.nodes.append(node)
        if node.key is not None:
            self.index[node.key] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def reference(self, key: Key) -> Pair:
        return (self.graph.classes.reference(key[0]), self.graph.classes.reference(key[1]))

    def mover(self, node: int | None) -> int | None:
        """The nearest learned resolution from which the node's size follows, itself included."""
        while node is not None:
            here = self.nodes[node]
            if here.how == "learned":
                return node
            node = None if here.how == "pinned" else here.parent
        return None

    def pin(self, key: Key | None, why: str) -> None:
        if key is None or key in self.pinned:
            raise RuntimeError(f"the resolution {key} is held already and moves nevertheless: {why}")
        self.pinned[key] = why
        raise _AgainError

    def pin_mover(self, node: int | None, why: str) -> None:
        """Pin the learned resolution that moves the node, if there is one."""
        mover = self.mover(node)
        if mover is not None:
            self.pin(self.nodes[mover].key, why)

    def arithmetic(self, resize: Resize, parent: int, key: Key) -> Arithmetic:
        def beyond(size: Pair, reference: Pair) -> Pair:
            return (size[0] - reference[0], size[1] - reference[1])

        source = beyond(resize.in_size, self.nodes[parent].reference)
        return Arithmetic(resize, source, beyond(resize.out_size, self.reference(key)))

    def multiple(self, key: Key) -> Pair:
        h, w = (self.graph.classes.multiple(a) for a in key)
        more = self.demands.get(key, (1, 1))
        return (math.lcm(h, more[0]), math.lcm(w, more[1]))

    # --- resolution by resolution -------------------------------------------------------------------------------------

    def run(self) -> None:
        self.start()
        pending = list(groups(self.graph))
        while pending:
            group = next((g for g in pending if self.opener(g, learnable=True)), None)
            group = group or next((g for g in pending if self.opener(g)), None)
            if group is None:
                self.unlock(pending)
                break
            pending.remove(group)
            self.place(group)
        for group in pending:
            for r in group.members:
                self.roles.append(Role(r, None, "left alone", "its input carries no resolution of the model's input"))
        self.check()
        reached = {role.resize.node for role in self.roles}
        for r in self.graph.resizes:
            if r.node not in reached:
                self.roles.append(_unplaced(r))

    def check(self) -> None:
        """Layers left as they are must give the sizes planned, also where they run before their input was placed."""
        for role in self.roles:
            source = self.node_of(source_key(self.graph, role.resize))
            if role.node is None or source is None or role.rewrite:
                continue
            target = self.nodes[role.node]
            sets = target.parent == source and target.how == "derived" and target.key is not None
            if sets and alike(self.arithmetic(role.resize, source, target.key or (0, 0)), target.native):
                continue
            why = f"{role.resize.path or role.resize.kind} ties it to another resolution: {role.why}"
            self.pin_mover(source, why)
            self.pin_mover(role.node, why)

    def unlock(self, pending: list[Group]) -> None:
        """Resolutions that are multiples of one below them wait for each other: then both are held."""
        keys = {g.key for g in pending}
        for group in pending:
            (h, _), (w, _) = (self.graph.classes.base(a) for a in group.key)
            if (h, w) != group.key and (h, w) in keys and self.opener(group) and group.key not in self.pinned:
                why = "two resolutions must keep their ratio"
                self.pinned[h, w] = why
                self.pin(group.key, why)

    def opener(self, group: Group, *, learnable: bool = False) -> tuple[Resize, int] | None:
        """The first resizer of the group that comes from a resolution of the tree, and that resolution."""
        for r in group.members:
            if learnable and (self.plan_of(r) is None or r.scale is not None):
                continue
            parent = self.node_of(source_key(self.graph, r))
            if parent is not None:
                return r, parent
        return None

    def place(self, group: Group) -> None:
        here = self.node_of(group.key)
        if here is not None:
            self.back_to(group, here)
        elif group.key in self.pinned:
            self.held(group, self.pinned[group.key])
        elif any(self.plan_of(r) is None for r in group.members) or self.opener(group, learnable=True) is None:
            self.derived(group)
        else:
            self.learned(group)

    def sources(self, group: Group) -> list[tuple[Resize, int | None]]:
        return [(r, self.node_of(source_key(self.graph, r))) for r in group.members]

    def back_to(self, group: Group, here: int) -> None:
        """Resizers to a resolution that is there already: they follow it where anything moves."""
        for r, source in self.sources(group):
            moves = self.mover(source) is not None or self.mover(here) is not None
            if moves and self.plan_of(r) is None:
                why = f"{r.path or r.kind} leads from it to another resolution: {self.refusal(r)}"
                self.pin_mover(source, why)
                self.pin_mover(here, why)
            why = "resizes back to an earlier resolution"
            self.roles.append(Role(r, here, "follows" if moves else "left alone", self.refusal(r) or why, moves))

    def held(self, group: Group, why: str) -> None:
        known = self.sources(group)
        for r, source in known:
            if self.plan_of(r) is None:
                self.pin_mover(source, f"leads to a pinned resolution: {self.refusal(r)}")
        first, parent = self.opener(group) or (group.members[0], 0)
        moves = any(self.mover(source) is not None for _, source in known)
        here = self.add(
            PlannedNode(
                group.members[0].path or group.members[0].kind,
                group.key,
                parent,
                self.reference(group.key),
                "pinned" if moves else "derived",
                self.arithmetic(first, parent, group.key),
            )
        )
        for r, _ in known:
            rewrite = moves and self.plan_of(r) is not None
            own = self.refusal(r)
            self.roles.append(Role(r, here, "left alone" if own else "pinned", own or why, rewrite))

    def derived(self, group: Group) -> None:
        """One of the group's layers keeps its own arithmetic, and sets the size."""
        known = self.sources(group)
        setters = [(r, p) for r, p in known if p is not None and self.plan_of(r) is None]
        setters = setters or [(r, p) for r, p in known if p is not None and r.scale is not None]
        if not setters:  # the layer that sets the size stands on a resolution that is not placed yet, or never will be
            refused = next(self.refusal(r) for r in group.members if self.plan_of(r) is None)
            self.pin(group.key, f"shares a resolution with one that cannot move: {refused}")
        first, parent = setters[0]
        native = self.arithmetic(first, parent, group.key)
        refused = self.refusal(first)
        moves = any(self.mover(p) is not None for _, p in known)
        for r, p in setters[1:]:
            other = None if p is None else self.arithmetic(r, p, group.key)
            if moves and self.plan_of(r) is None and not (p == parent and alike(native, other)):
                self.pin(group.key, f"layers that cannot be rewritten meet in it: {refused}")
        need = self.multiple(group.key)
        if self.mover(parent) is not None and need != (1, 1):
            self.ask(parent, native, need, group.key)
        name = group.members[0].path or group.members[0].kind
        here = self.add(PlannedNode(name, group.key, parent, self.reference(group.key), "derived", native))
        for r, _ in known:
            if r is first and r.scale is not None and not refused:
                self.roles.append(Role(r, here, "follows", "its size is that of its input, times its scale factor"))
            elif self.plan_of(r) is None:
                self.roles.append(Role(r, here, "left alone", self.refusal(r)))
            elif moves:
                why = f"shares a resolution with one that keeps its own arithmetic: {refused}"
                self.roles.append(Role(r, here, "follows", why, rewrite=True))
            else:
                why = f"shares a resolution with one that cannot move: {refused}"
                self.roles.append(Role(r, here, "left alone", why))

    def ask(self, parent: int, native: Arithmetic, need: Pair, key: Key) -> None:
        """Make the sizes of the learned resolution above such that the layer gives multiples of `need`."""
        between: list[Arithmetic | Ratio] = [native]
        above = parent
        while self.nodes[above].how == "derived" and self.nodes[above].parent is not None:
            between.append(self.nodes[above].native or Ratio(Fraction(1), Fraction(1)))
            above = self.nodes[above].parent or 0
        steps = [how.steps for how in between]
        h, w = ((math.prod(s[axis] for s in steps) * need[axis]).numerator for axis in (0, 1))
        at = self.nodes[above].key

        def gives(size: Pair) -> Pair:
            for how in reversed(between):
                size = how(size)
            return size

        whole = all(n % m == 0 for k in range(1, 9) for n, m in zip(gives((k * h, k * w)), need, strict=True))
        if not whole or self.nodes[above].how != "learned" or at is None:
            self.pin(key, f"its size must be a multiple of {need}")
        elif any(n % m for n, m in zip(self.nodes[above].multiple, (h, w), strict=True)):
            before = self.multiple(at)
            self.demands[at] = (math.lcm(before[0], h), math.lcm(before[1], w))
            raise _AgainError

    def learned(self, group: Group) -> None:
        first, parent = self.opener(group, learnable=True) or (group.members[0], 0)
        name = group.members[0].path or group.members[0].kind
        native = self.arithmetic(first, parent, group.key)
        node = PlannedNode(
            name, group.key, parent, self.reference(group.key), "learned", native, self.multiple(group.key)
        )
        here = self.add(node)
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


def plan_resolutions(
    graph: Graph, plans: Mapping[int, Plan | str], held: Mapping[Key, str]
) -> tuple[list[PlannedNode], list[Role]]:
    """The resolutions of a model, parents before children, and the role of each resizer in order of execution.

    Args:
        graph: the structure of a :class:`~dynpool.graph.survey.Survey`.
        plans: by node of the graph, how each resizer could be rewritten, or why it cannot be.
        held: resolutions that cannot move for reasons that the graph does not show.
    """
    planner = _Planner(graph, plans, dict(held))
    planner.pin_from_start(list(groups(graph)))
    while True:
        try:
            planner.run()
        except _AgainError:
            continue
        return planner.nodes, sorted(planner.roles, key=lambda role: role.resize.node)
