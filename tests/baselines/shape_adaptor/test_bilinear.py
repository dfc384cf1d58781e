"""Bilinear resizing is PyTorch's, but with aligned corners a single pixel is the mean of its axis, unless published."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from dynpool.baselines.shape_adaptor.bilinear import bilinear_resize

SIZES = [(5, 7), (9, 4), (1, 3), (6, 1), (1, 1), (6, 8)]


def random_map(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
def test_values_are_interpolated_or_means(size: tuple[int, int], align_corners: bool) -> None:
    x = random_map(2, 3, 6, 8)
    expected = x
    for axis, n in zip((-2, -1), size, strict=True):
        if align_corners and n == 1:
            expected = expected.mean(axis, keepdim=True)
    expected = F.interpolate(expected, size, mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(bilinear_resize(x, size, align_corners=align_corners), expected)


def test_a_map_of_the_size_asked_for_is_given_back() -> None:
    x = random_map(1, 2, 6, 8)
    assert bilinear_resize(x, (6, 8), align_corners=True) is x


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
def test_published_values_are_those_of_pytorch(size: tuple[int, int], align_corners: bool) -> None:
    x = random_map(2, 3, 6, 8)
    expected = F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    assert torch.equal(bilinear_resize(x, size, align_corners=align_corners, published=True), expected)


CASES = list(itertools.product(SIZES, [False, True], [False, True]))


@pytest.mark.parametrize(("size", "align_corners", "published"), CASES)
def test_the_operator_of_compiled_code_has_the_same_values_and_gradients(
    size: tuple[int, int], align_corners: bool, published: bool
) -> None:
    x = random_map(2, 3, 6, 8).requires_grad_()
    other = x.detach().clone().requires_grad_()
    y = bilinear_resize(x, size, align_corners=align_corners, published=published)
    compiled = torch.ops.dynpool.bilinear_resize(other, *size, align_corners, align_corners and not published)
    torch.testing.assert_close(compiled, y)
    dy = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
    y.backward(dy)
    compiled.backward(dy)
    torch.testing.assert_close(other.grad, x.grad)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_its_shapes_and_layouts_are_known_without_data(layout: torch.memory_format) -> None:
    x = random_map(2, 3, 6, 8).contiguous(memory_format=layout)
    found = torch.ops.dynpool.bilinear_resize(x, 4, 5, True, True)
    assert found.is_contiguous(memory_format=layout)
    without = torch.ops.dynpool.bilinear_resize(x.to("meta"), 4, 5, True, True)
    assert (without.shape, without.stride()) == (found.shape, found.stride())
