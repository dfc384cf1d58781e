"""Every kind of primitive has a rule for receptive fields."""

from dynpool.analysis.fields.recurrence_domain import RecurrenceDomain
from dynpool.analysis.fields.rules.table import walk_of
from dynpool.graph import primitives as kinds
from dynpool.graph.record import Primitive
from dynpool.graph.tracer import trace
from tests.networks import two_resizers


def test_every_primitive_has_a_rule() -> None:
    named = {getattr(kinds, name) for name in kinds.__all__}
    primitives = {kind for kind in named if isinstance(kind, type) and issubclass(kind, Primitive)}
    walk = walk_of(trace(two_resizers(), (3, 16, 16)), RecurrenceDomain(2))
    assert primitives - {Primitive} == set(walk.rules)


def test_a_walk_begins_with_the_field_of_the_image_alone() -> None:
    graph = trace(two_resizers(), (3, 16, 16))
    walk = walk_of(graph, RecurrenceDomain(2))
    assert set(walk.fields) == {graph.input_id}
    walk.run()
    assert set(walk.of_image) >= {v for node in graph.nodes for v in node.outputs if graph.values[v].shape[0] == 1}
    assert walk.not_understood == {}
