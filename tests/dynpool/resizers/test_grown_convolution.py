"""The convolution whose padding grows with its kernel: its operator equals F.conv2d, with shapes known beforehand."""

import pytest
import torch
from torch.nn import functional as F

from dynpool.resizers.grown_convolution import grown_convolution, padding_of


def test_the_padding_is_half_of_the_kernel_and_the_margin():
    assert padding_of((7, 3), (0, 0)) == (3, 1)
    assert padding_of((7, 3), (-1, -2)) == (2, -1)


@pytest.mark.parametrize("margin", [(0, 0), (-3, -2), (1, 0)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 5), (9, 7)])
@pytest.mark.parametrize(("stride", "groups"), [((1, 1), 1), ((2, 3), 2)])
def test_the_output_does_not_depend_on_the_kernels_size(margin, kernel, stride, groups):
    x = torch.randn(2, 4, 15, 14, dtype=torch.float64)
    weight = torch.randn(6, 4 // groups, *kernel, dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64)
    y = grown_convolution(x, weight, bias, stride, margin, groups)
    top, left = (m + k // 2 for m, k in zip(margin, kernel, strict=True))
    expected = F.conv2d(F.pad(x, (left, left, top, top)), weight, bias, stride, groups=groups)
    assert torch.equal(y, expected)
    assert y.shape[2:] == tuple((n + 2 * m - 1) // s + 1 for n, m, s in zip((15, 14), margin, stride, strict=True))


@pytest.mark.parametrize("margin", [[0, 0], [-2, -1]])
@pytest.mark.parametrize("bias", [True, False])
def test_the_operator_passes_pytorchs_own_checks(margin, bias):
    def double(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    arguments = (double(2, 4, 9, 8), double(6, 2, 3, 3), double(6) if bias else None, [2, 1], margin, 2)
    torch.library.opcheck(torch.ops.dynpool.grown_convolution, arguments)
    leaves = [argument for argument in arguments if isinstance(argument, torch.Tensor)]

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        given = [*tensors, None] if len(tensors) == 2 else list(tensors)
        return torch.ops.dynpool.grown_convolution(*given, *arguments[3:])

    torch.autograd.gradcheck(run, tuple(leaves))
