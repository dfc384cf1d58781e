"""One operation as its description sees it: arguments by name, dimensions counted from the first."""

import pytest
import torch

from dynpool.graph.ops.operation import Operation, ints
from dynpool.graph.tracer import trace
from tests.dynpool.graph.ops.single import Single


def operation(function, size=(2, 3, 4)) -> Operation:
    graph = trace(Single(function), size)
    return Operation(graph, graph.nodes[-1])


@pytest.mark.parametrize(
    ("value", "expected"), [(3, (3, 3)), ([3], (3, 3)), ([1, 2], (1, 2)), (None, (7, 7)), ([], (7, 7))]
)
def test_one_number_stands_for_all_axes(value, expected):
    assert ints(value, 2, 7) == expected


def test_arguments_have_names_and_their_defaults():
    op = operation(lambda x: x.cumsum(-1))
    assert (op.name, op.rank, op.x.shape) == ("aten.cumsum", 4, (1, 2, 3, 4))
    assert (op["dim"], op.dim(), op["dtype"], op.get("nothing", 5)) == (-1, 3, None, 5)
    assert op.outputs[0].shape == (1, 2, 3, 4)


def test_an_argument_that_it_has_not_is_named_with_those_that_it_has():
    with pytest.raises(ValueError, match=r"aten\.cumsum has no argument 'axis'; its arguments are self, dim, dtype"):
        operation(lambda x: x.cumsum(-1))["axis"]


@pytest.mark.parametrize(("dim", "expected"), [((-1, 1), (3, 1)), (None, (0, 1, 2, 3)), ([], (0, 1, 2, 3))])
def test_no_dimensions_are_all_of_them(dim, expected):
    assert operation(lambda x: torch.sum(x, dim)).dims() == expected
