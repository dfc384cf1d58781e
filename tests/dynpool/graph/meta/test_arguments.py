"""Arguments of operations go by the names of their schemas."""

import torch

from dynpool.graph.meta.arguments import bind


def test_every_argument_has_its_name_in_the_schemas_order_and_its_default() -> None:
    bias, a, b = torch.zeros(3), torch.ones(2, 4), torch.ones(4, 3)
    bound = bind(torch.ops.aten.addmm.default, (bias, a, b), {"alpha": 2})
    assert list(bound) == ["self", "mat1", "mat2", "beta", "alpha"]
    assert bound["self"] is bias
    assert bound["mat2"] is b
    assert (bound["beta"], bound["alpha"]) == (1, 2)


def test_defaults_of_one_call_are_not_those_of_the_next() -> None:
    x = torch.zeros(1, 2, 4, 4)
    assert bind(torch.ops.aten.mean.dim, (x, [2, 3], True), {})["keepdim"] is True
    assert bind(torch.ops.aten.mean.dim, (x, [2]), {})["keepdim"] is False
