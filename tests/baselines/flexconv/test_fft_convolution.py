"""Convolution by Fourier transforms against PyTorch's, and the choice between both."""

import pytest
import torch
from torch.nn import functional as F

from dynpool.baselines.flexconv.fft_convolution import fast_length, fft_conv2d, fft_is_faster, transform_size

# map, kernel, padding, stride, (in, out) channels, groups
CASES = [
    ((8, 8), (3, 3), (1, 1), (1, 1), (2, 3), 1),
    ((9, 7), (5, 3), (2, 1), (1, 1), (4, 4), 4),
    ((9, 10), (9, 7), (4, 3), (2, 3), (4, 6), 2),
    ((5, 6), (9, 11), (4, 5), (1, 1), (3, 2), 1),  # larger than the map
    ((12, 11), (7, 5), (0, 0), (1, 1), (2, 2), 1),  # valid
    ((12, 11), (5, 3), (1, 3), (2, 1), (2, 2), 2),
    ((1, 1), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((6, 6), (1, 1), (0, 0), (1, 1), (3, 5), 1),
    ((4, 4), (3, 3), (6, 5), (1, 1), (1, 2), 1),  # more padding than the kernel needs
]


@pytest.mark.parametrize(("size", "kernel", "padding", "stride", "channels", "groups"), CASES)
def test_equal_to_the_sum_over_the_kernel(size, kernel, padding, stride, channels, groups) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, channels[0], *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(channels[1], channels[0] // groups, *kernel, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, weight, None, stride, padding, 1, groups)
    y = fft_conv2d(x, weight, padding=padding, stride=stride, groups=groups)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    back = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(y, (x, weight), back),
        torch.autograd.grad(expected, (x, weight), back),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 4, 16, 16, dtype=dtype), torch.randn(4, 4, 7, 7, dtype=dtype) / 14
    exact = F.conv2d(x.double(), weight.double(), padding=3)
    y = fft_conv2d(x, weight, padding=(3, 3))
    assert y.dtype == dtype
    assert (y.double() - exact).abs().max() <= (exact.to(dtype).double() - exact).abs().max() + 2e-6


def test_lengths_have_small_prime_factors() -> None:
    for n in range(1, 300):
        m = fast_length(n)
        assert m >= n
        for factor in (2, 3, 5):
            while m % factor == 0:
                m //= factor
        assert m == 1
    assert transform_size((28, 28), (9, 9), (4, 4)) == (32, 32)


def test_large_kernels_and_depthwise_convolutions_are_left_to_transforms() -> None:
    def chosen(kernel: int, groups: int = 1, size: int = 28, channels: int = 64) -> bool:
        return fft_is_faster(
            (size, size), (kernel, kernel), padding=(kernel // 2, kernel // 2), stride=(1, 1), batch=16,
            channels=(channels, channels), groups=groups,
        )  # fmt: skip

    assert [chosen(k) for k in (3, 5, 21, 29)] == [False, False, True, True]
    assert [chosen(k, groups=64) for k in (3, 7, 13, 29)] == [False, True, True, True]
    assert not chosen(3, size=8)
