"""The rule of each ATen operation for receptive fields, and the program of a traced model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dynpool.graph.ir import Graph, Node

from ..nominal import Nominal
from ..positions import Field
from ..program import FieldProgram
from ..propagate import Call, Domain, LayerOf, Rule, Walk
from ..steps import Layer
from .inplace import BACK_RULES, WRITE_RULES
from .mixing import MIX_RULES, pointwise
from .moves import MOVE_RULES
from .windows import WINDOW_RULES

__all__ = ["compile_fields", "rule_of", "walk_of"]


def _blank(c: Call) -> Field | None:
    """Made to the measure of another tensor, without what it holds."""
    return None


def _named(names: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


_RULES: dict[str, Rule] = {
    **_named(
        "hardswish hardsigmoid hardtanh leaky_relu elu celu selu mish softplus threshold _prelu_kernel", pointwise
    ),
    **_named("glu_jvp where masked_fill lerp clamp native_dropout rrelu_with_noise bernoulli", pointwise),
    **_named("zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty", _blank),
    **_named("new_full new_empty_strided zero fill normal uniform arange _assert_async sym_size", _blank),
    **WRITE_RULES,
    **WINDOW_RULES,
    **MOVE_RULES,
    **MIX_RULES,
}


def rule_of(node: Node) -> Rule | None:
    """The rule of an operation; None if there is none."""
    found = _RULES.get(node.op) or _RULES.get(node.op.removesuffix("_"))
    return found or (pointwise if node.pointwise else None)


def walk_of(graph: Graph, domain: Domain, layer: LayerOf | None = None) -> Walk:
    """The walk through a graph by all rules; it has not begun."""
    return Walk(graph, domain, rule_of, BACK_RULES, layer)


def compile_fields(graph: Graph) -> FieldProgram:
    """What a traced model does to receptive fields; operations that do nothing to them leave no step behind."""
    domain = Nominal(len(graph.size) - 1)
    walk = walk_of(graph, domain, _Layers(graph))
    walk.run()
    return FieldProgram(graph, domain.steps, graph.size[1:], walk.not_understood)


class _Layers:
    """Makes the rows' steps: their names, and what they cost."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names: dict[str, int] = {}
        self.macs = {mac.node: mac.macs for mac in graph.macs}
        self.counted: set[int] = set()  # parameters of earlier layers

    def __call__(self, call: Call, whole: Sequence[int]) -> Layer:
        node = call.node
        kind = node.op.split(".")[-1].removesuffix("_with_indices")
        dims = self.graph.values[node.inputs[0]].dims
        shape = self.graph.values[node.inputs[0]].shape
        return Layer(
            source=-1,
            windows=(),
            name=self._name(node, kind),
            kind=kind,
            node=node.index,
            whole=tuple((dims[d].axis if dims else None, shape[d]) for d in whole),
            macs=self.macs.get(node.index, 0),
            parameters=sum(math.prod(self.graph.values[v].shape) for v in self._parameters(call)),
        )

    def _name(self, node: Node, kind: str) -> str:
        """The module's path, or the kind of an operation in the model's own forward; numbered when it runs again."""
        name = node.path or kind
        self.names[name] = self.names.get(name, 0) + 1
        return name if self.names[name] == 1 else f"{name}#{self.names[name]}"

    def _parameters(self, call: Call) -> list[int]:
        """The parameters that the layer's weights are, or are made of, unless an earlier layer has counted them."""
        found = []
        left = list(call.node.inputs[1:])
        while left:
            value = left.pop()
            if value in self.counted:
                continue
            self.counted.add(value)
            if self.graph.values[value].origin == "parameter":
                found.append(value)
            elif value in call.walk.makers and value not in call.walk.of_image:
                left += call.walk.makers[value].inputs
        return found
