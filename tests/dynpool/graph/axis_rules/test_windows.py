"""Sliding windows: the same resolution at stride 1, a new one at other strides; shuffles and patches in between."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dynpool.graph.survey import Survey
from dynpool.graph.tracer import trace
from tests.dynpool.graph.axis_rules.maps import Branches, Then, pooled


def test_a_valid_convolution_shifts_the_offset_not_the_class() -> None:
    graph = trace(Branches(), (3, 32, 48))
    (value,) = graph.nodes[-1].outputs
    target = graph.resizes[1].target
    assert [graph.classes.find(d.axis) for d in graph.dims(value)[-2:] if d.axis is not None] == [
        graph.classes.find(a) for a in target if a is not None
    ]
    assert graph.values[value].shape[-2:] == (6, 10)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (
            lambda x: F.conv1d(x.flatten(2), x.new_zeros(2, 8, 3), stride=2),
            ("convolution", (3,), (2,), (1536,), (767,)),
        ),
        (lambda x: F.conv1d(x.flatten(2), x.new_zeros(2, 8, 3)), None),
        (lambda x: F.max_pool3d(x[None], (2, 1, 1)), ("max_pool3d_with_indices", (2, 1, 1), (2, 1, 1), None, None)),
        (lambda x: F.interpolate(x.flatten(2), scale_factor=2.0), ("upsample_nearest1d", (1,), (1,), (1536,), (3072,))),
        (lambda x: F.interpolate(x.flatten(2), 7), None),
    ],
)
def test_what_runs_along_other_axes_than_the_input_is_noted(function: Callable[[Tensor], Tensor], found: Any) -> None:
    noted = trace(Then(function), (8, 64, 96)).axes.of_other_axes
    assert len(noted) == (found is not None)
    for resize in noted:
        sizes = (resize.in_size, resize.out_size) if found[3] else (None, None)
        assert (resize.kind, resize.kernel, resize.stride, *sizes) == found
        assert set(resize.source + resize.target) == {None}


def behind_a_pool(function: Callable[[Tensor], Tensor], size: tuple[int, int, int] = (8, 48, 48)) -> Any:
    """The dimensions of the function's result as multiples of the pooled height and width."""
    graph = Survey(Then(function), size).structure
    base = [graph.classes.base(dim.axis) for dim in graph.dims(graph.nodes[-1].outputs[0])[-2:] if dim.axis is not None]
    return [(pooled(graph).index(axis), ratio) for axis, ratio in base]


@pytest.mark.parametrize(
    ("function", "ratio"),
    [
        (lambda x: F.pixel_shuffle(x, 2), Fraction(2)),
        (lambda x: F.pixel_unshuffle(x, 4), Fraction(1, 4)),
        (lambda x: F.max_pool2d(x, 3, 1, 1), Fraction(1)),
        (lambda x: torch.ops.aten.channel_shuffle(x, 4), Fraction(1)),
    ],
)
def test_shuffles_multiply_both_axes(function: Callable[[Tensor], Tensor], ratio: Fraction) -> None:
    assert behind_a_pool(function) == [(0, ratio), (1, ratio)]


def test_an_unshuffle_makes_the_sizes_multiples() -> None:
    graph = Survey(Then(lambda x: F.pixel_unshuffle(x, 4)), (8, 48, 48)).structure
    _ = graph.resizes
    assert [graph.classes.multiple(a) for a in pooled(graph)] == [4, 4]


@pytest.mark.parametrize(
    ("function", "scale", "fixed"),
    [
        (lambda x: F.interpolate(x, scale_factor=2), (2, 2), False),
        (lambda x: F.conv_transpose2d(x, x.new_zeros(8, 4, 2, 2), None, (2, 3)), (2, 3), False),
        (lambda x: F.interpolate(x, (7, 9)), None, True),
        (lambda x: F.avg_pool2d(x, 3, 2), None, False),
    ],
)
def test_what_resizes_opens_a_resolution_unless_its_size_is_a_number(
    function: Callable[[Tensor], Tensor], scale: Any, fixed: bool
) -> None:
    graph = Survey(Then(function), (8, 48, 48)).structure
    found = graph.resizes[-1]
    assert found.source == pooled(graph)
    assert (found.scale, found.fixed) == (scale, fixed)
    assert (None in found.target) == fixed
    assert not set(found.target) & set(found.source)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_patches_lie_along_the_map_in_steps_of_their_stride(stride: int) -> None:
    graph = Survey(Then(lambda x: F.unfold(x, 3, padding=1, stride=stride)), (8, 48, 48)).structure
    positions = graph.dims(graph.nodes[-1].outputs[0])[-1]
    assert [graph.classes.base(axis) for axis in positions.axes] == [(a, Fraction(1, stride)) for a in pooled(graph)]
    assert positions.size == graph.values[graph.nodes[-1].outputs[0]].shape[-1]


def test_a_map_that_is_unpooled_keeps_its_size() -> None:
    def unpooled(x: Tensor) -> Tensor:
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(pooled, indices, (2, 2))

    graph = trace(Then(unpooled), (8, 48, 48))
    before = graph.dims(graph.nodes[-1].inputs[0])[-2:]
    why = [graph.classes.pinned(dim.axis) for dim in before if dim.axis is not None]
    assert why == ["unpooled by indices in the model (aten.max_unpool2d)"] * 2
    assert not graph.not_understood
