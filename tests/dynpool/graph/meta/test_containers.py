"""Tensors in the arguments of operations."""

import torch

from dynpool.graph.meta.containers import map_tensors, tensors_in

A, B = torch.zeros(1), torch.zeros(2)
VALUE = ([A, None, (B, 3)], {"scale": A, "names": ["x"]})


def test_tensors_come_in_order_and_as_often_as_they_are_there() -> None:
    assert [t is u for t, u in zip(tensors_in(VALUE), (A, B, A), strict=True)] == [True] * 3
    assert tensors_in(3) == []


def test_replacing_leaves_the_rest_and_the_original_as_they_are() -> None:
    assert map_tensors(len, VALUE) == ([1, None, (2, 3)], {"scale": 1, "names": ["x"]})
    assert VALUE[0][0] is A
