"""Operations that compute: windows, resizes, reductions and writes as described come to what PyTorch gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.graph import primitives as kinds
from dynpool.size_math import window_output_size
from tests.dynpool.graph.ops.single import node_of, primitive_of

WINDOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "convolution": lambda x: F.conv2d(x, x.new_zeros(6, 2, 3, 5), None, (2, 1), (1, 2), (1, 2), 2),
    "convolution, one number": lambda x: F.conv2d(x, x.new_zeros(6, 4, 3, 3), None, 2, 1),
    "max pool": lambda x: F.max_pool2d(x, (3, 2), (2, 1), 1, 2),
    "max pool, its kernel as stride": lambda x: F.max_pool2d(x, (3, 2)),
    "max pool, rounded up": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average pool": lambda x: F.avg_pool2d(x, 2, 3, 1),
    "average pool, rounded up": lambda x: F.avg_pool2d(x, 4, 3, 2, ceil_mode=True),
}


@pytest.mark.parametrize("function", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("extents", [(11, 12), (14, 13)])
def test_as_many_windows_fit_as_the_map_has_pixels(function: Callable[[Tensor], Tensor], extents: Any) -> None:
    p = primitive_of(function, (4, *extents))
    assert isinstance(p, kinds.Window)
    sizes = [
        window_output_size(n, *one, ceil_mode=p.ceil_mode)
        for n, *one in zip(extents, p.kernel, p.stride, p.padding, p.dilation, strict=True)
    ]
    assert tuple(sizes) == function(torch.zeros(1, 4, *extents)).shape[2:]


def test_unpooling_has_the_windows_of_the_pool_that_made_its_indices() -> None:
    def unpooled(x: Tensor, *, pooled: bool) -> Tensor:
        x, indices = F.max_pool2d(x, (3, 2), (2, 1), 1, return_indices=True)
        return torch.ops.aten.max_unpool2d(x, indices if pooled else indices + 0, (11, 12))

    def last(*, pooled: bool) -> kinds.Primitive:
        return primitive_of(lambda x: unpooled(x, pooled=pooled), (4, 11, 12))

    known, unknown = last(pooled=True), last(pooled=False)
    assert isinstance(known, kinds.Unpool)
    assert (known.kernel, known.stride, known.padding) == ((3, 2), (2, 1), (1, 1))
    assert isinstance(unknown, kinds.Opaque)


def test_a_convolution_keeps_its_weight_groups_and_direction() -> None:
    p = primitive_of(lambda x: F.conv_transpose2d(x, x.new_zeros(4, 3, 2, 2), None, 2, groups=2), (4, 5, 6))
    assert isinstance(p, kinds.Window)
    assert p.weight is not None
    assert (p.weight.shape, p.groups, p.transposed) == ((4, 3, 2, 2), 2, True)


@pytest.mark.parametrize(
    ("function", "method", "scales"),
    [
        (lambda x: F.interpolate(x, scale_factor=(2, 3)), "nearest", (2.0, 3.0)),
        (lambda x: F.interpolate(x, (7, 5)), "nearest", None),
        (lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"), "linear", (1.5, 1.5)),
        (lambda x: F.interpolate(x, (9, 9), mode="bicubic", antialias=True), "cubic-antialiased", None),
        (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), "adaptive", None),
    ],
)
def test_a_resize_keeps_the_factors_asked_for(function: Any, method: str, scales: Any) -> None:
    p = primitive_of(function, (2, 6, 8))
    assert isinstance(p, kinds.Resample)
    assert (p.ndim, p.method, p.scales) == (2, method, scales)


@pytest.mark.parametrize("dim", [None, 1, -1, (1, 3), (-2, -1)])
@pytest.mark.parametrize("keep", [False, True])
def test_a_reduction_takes_the_dimensions_given_counted_from_the_first(dim: Any, keep: bool) -> None:
    def total(x: Tensor) -> Tensor:
        return x.sum() if dim is None else x.sum(dim, keep)

    p = primitive_of(total, (2, 3, 4))
    assert isinstance(p, kinds.Reduce)
    x = torch.arange(24.0).view(1, 2, 3, 4)
    assert torch.equal(x.sum(p.dims).flatten(), total(x).flatten())


def test_the_larger_of_two_tensors_is_taken_position_by_position() -> None:
    assert isinstance(primitive_of(lambda x: torch.max(x, x + 1), (2, 3, 4)), kinds.Elementwise)


@pytest.mark.parametrize(
    ("layer", "over"),
    [
        (nn.BatchNorm2d(4).eval(), ()),  # its statistics are constants of the model
        (nn.LayerNorm((5, 6)), (2, 3)),
        (nn.GroupNorm(2, 4), (1, 2, 3)),
    ],
)
def test_a_normalisation_depends_on_what_its_statistics_are_taken_over(layer: nn.Module, over: Any) -> None:
    """Whatever is changed outside of these dimensions changes nothing else."""
    p = primitive_of(layer, (4, 5, 6))
    assert isinstance(p, kinds.Normalize)
    assert p.over == over
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x.clone()
    y[0, 1, 2, 3] += 9
    changed = (layer.double()(x) - layer.double()(y)).abs() > 1e-9
    index = tuple(slice(None) if dim in over else at for dim, at in enumerate((0, 1, 2, 3)))
    allowed = torch.zeros_like(changed)
    allowed[index] = True
    assert bool(changed[0, 1, 2, 3])
    assert not bool((changed & ~allowed).any())


def test_a_write_knows_its_dimension_and_whether_it_adds() -> None:
    def put(x: Tensor) -> Any:
        rows = torch.zeros(2, dtype=torch.int64)
        return torch.ops.aten.index_put(x, [None, None, rows], x[:, :, :2], True)

    p = primitive_of(put, (2, 3, 4))
    assert isinstance(p, kinds.Write)
    assert (p.dim, p.kept, p.anywhere) == (2, True, False)
    node, shapes = node_of(lambda x: x.masked_scatter(x > 0, x), (2, 3, 4))
    assert isinstance(node.primitive, kinds.Write)
    assert node.primitive.anywhere
    assert shapes == [(1, 2, 3, 4)]
