"""Fields by the recurrence where parts of a map are laid beside each other, against gradients in its middle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.analysis import receptive_field
from tests.analysis.fields.oracle import image, layer_outputs, positive, region


class Between(nn.Module):
    """An operation between two convolutions of kernel 3 that pad with zeros."""

    def __init__(self, operation: Callable[[Tensor], Tensor], axes: int = 2, stride: int = 1) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.first = conv(3, 4, 3, stride, padding=1, bias=False)
        self.operation = operation
        self.last = conv(4, 4, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.operation(self.first(x)))


def circular(*pads: int) -> Callable[[Tensor], Tensor]:
    return lambda x: F.pad(x, pads, mode="circular")


def wrapped_by_hand(x: Tensor) -> Tensor:
    return torch.cat([x[..., -2:], x, x[..., :2]], -1)


def shifted(x: Tensor) -> Tensor:
    """A channel a row up, a channel a row down, the others where they are (temporal shift modules)."""
    out = torch.zeros_like(x)
    out[:, :1, :-1] = x[:, :1, 1:]
    out[:, 1:2, 1:] = x[:, 1:2, :-1]
    out[:, 2:] = x[:, 2:]
    return out


def spaced(x: Tensor) -> Tensor:
    """Zeros between neighbours."""
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


def assert_sees_in_the_middle_what_gradients_see(model: nn.Module, size: tuple[int, ...], r: tuple[int, ...]) -> None:
    report = receptive_field(model, size)
    row = report.layers[-1]
    x = image(size)
    out = layer_outputs(positive(model), x, [row.name])[row.name]
    middle = tuple(n // 2 for n in out.shape[2:])
    assert row.region(middle) == region(out, x, middle)
    assert row.r_min == row.r_max == r
    assert report.aligned


@pytest.mark.parametrize(
    ("operation", "size", "stride", "r"),
    [
        (circular(2, 1, 1, 2), (3, 32, 41), 1, (5, 5)),
        (circular(1, 1, 0, 3), (3, 33, 40), 2, (7, 7)),
        (circular(1, 1), (3, 41), 1, (5,)),
        (circular(1, 1, 1, 1, 1, 1), (3, 9, 10, 11), 1, (5, 5, 5)),
        (wrapped_by_hand, (3, 33, 41), 1, (5, 5)),
        (wrapped_by_hand, (3, 32, 40), 2, (7, 7)),
        (shifted, (3, 32, 41), 1, (7, 5)),
    ],
)
def test_what_is_laid_beside_a_map_runs_on_as_the_map_does(
    operation: Callable[[Tensor], Tensor], size: tuple[int, ...], stride: int, r: tuple[int, ...]
) -> None:
    assert_sees_in_the_middle_what_gradients_see(Between(operation, len(size) - 1, stride), size, r)


@pytest.mark.parametrize("size", [(3, 8, 8), (3, 32, 40), (3, 33, 41)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_convolutions_with_circular_padding_in_a_row(size: tuple[int, int, int], kernel: int) -> None:
    first = nn.Conv2d(3, 4, kernel, padding=kernel // 2, padding_mode="circular")
    model = nn.Sequential(first, nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"))
    report = receptive_field(model, size)
    assert report.layers[1].r_min == report.layers[1].r_max == (kernel + 2, kernel + 2)
    assert report.layers[1].effective_stride == (1, 1)
    assert report.layers[1].effective_padding == (kernel // 2 + 1, kernel // 2 + 1)
    assert report.aligned


def test_zeros_between_neighbours_halve_the_stride() -> None:
    assert receptive_field(Between(spaced, stride=2), (3, 32, 40)).layers[-1].effective_stride == (1, 1)


class Tokens(nn.Module):
    """Patches of a signal, behind a class token that is cut off again."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv1d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.last = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token, self.patches(x).transpose(1, 2)], 1)
        return self.last(tokens[:, 1:].transpose(1, 2))


def test_a_class_token_before_a_row_of_patches_does_not_move_them() -> None:
    assert_sees_in_the_middle_what_gradients_see(Tokens(), (3, 64), (12,))
    assert receptive_field(Tokens(), (3, 64)).layers[-1].centre == (1.5,)
