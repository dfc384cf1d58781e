"""Spectral resizing: what is kept is sampled exactly, and what is no map is named."""

import math

import pytest
import torch
from torch import Tensor

from dynpool.baselines.diffstride.spectral import (
    Norm,
    check_map,
    check_norm,
    compute_dtype,
    match_format,
    spectral_resize,
    symmetric_resize,
)

RESIZES = [spectral_resize, symmetric_resize]


def waves(height: int, width: int) -> Tensor:
    """Two low frequencies and a constant, sampled at any size."""
    y = 2 * math.pi * torch.arange(height, dtype=torch.float64)[:, None] / height
    x = 2 * math.pi * torch.arange(width, dtype=torch.float64) / width
    return (1 + torch.cos(y + 0.3) * torch.sin(x) + torch.sin(2 * y) - torch.cos(2 * x + 1))[None]


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(12, 16), (6, 7), (7, 9), (15, 20), (24, 11)])
def test_low_frequencies_are_sampled_at_any_size(resize, size: tuple[int, int]) -> None:
    found = resize(waves(12, 16), size, None, "forward")  # which keeps the amplitude
    torch.testing.assert_close(found, waves(*size))


@pytest.mark.parametrize("resize", RESIZES)
def test_the_highest_frequency_of_an_even_number_of_pixels_is_a_cosine_between_them(resize) -> None:
    x = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64).expand(1, 6, 8)
    expected = torch.cos(2 * math.pi * 4 * torch.arange(20, dtype=torch.float64) / 20).expand(1, 6, 20)
    torch.testing.assert_close(resize(x, (6, 20), None, "forward"), expected)


def test_the_symmetric_form_samples_a_wave_that_becomes_the_highest_frequency() -> None:
    x = torch.cos(2 * math.pi * 2 * torch.arange(8, dtype=torch.float64) / 8).expand(1, 6, 8)
    expected = torch.tensor([1.0, -1.0] * 2, dtype=torch.float64).expand(1, 6, 4)
    torch.testing.assert_close(symmetric_resize(x, (6, 4), None, "forward"), expected)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(("norm", "factor"), [("forward", 1.0), ("ortho", math.sqrt(35 / 12)), ("backward", 35 / 12)])
def test_normalisations_differ_by_the_ratio_of_pixels(resize, norm: Norm, factor: float) -> None:
    x = torch.ones(1, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(resize(x, (4, 3), None, norm), torch.full((1, 4, 3), factor, dtype=torch.float64))


def test_gains_multiply_their_frequencies() -> None:
    x = waves(12, 16)
    gains = torch.zeros(7, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)
    gains[0][0] = gains[1][0] = 0.5  # of the constant alone
    torch.testing.assert_close(symmetric_resize(x, (12, 16), gains, "forward"), torch.full_like(x, 0.25))


@pytest.mark.parametrize("resize", RESIZES)
def test_an_empty_batch_has_the_size_of_others_and_zero_gradients(resize) -> None:
    gains = tuple(torch.ones(n, requires_grad=True) for n in ((6, 4) if resize is spectral_resize else (4, 4)))
    y = resize(torch.zeros(0, 3, 6, 6), (4, 5), gains, "forward")
    y.sum().backward()
    assert y.shape == (0, 3, 4, 5)
    assert all(g.grad is not None and not g.grad.any() for g in gains)


def test_transforms_are_computed_in_float32_at_least_and_results_look_like_the_map() -> None:
    assert [compute_dtype(d) for d in (torch.float16, torch.bfloat16, torch.float32)] == [torch.float32] * 3
    assert compute_dtype(torch.float64) == torch.float64
    x = torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    y = match_format(torch.zeros(2, 3, 2, 2), x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert match_format(torch.zeros(2, 3, 2, 2), x.contiguous()).is_contiguous()


@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        (3, TypeError, "x is a int: expected a tensor"),
        (
            torch.zeros(1, 2, 3, dtype=torch.int64),
            TypeError,
            "has dtype torch.int64: expected one of float16, ",
        ),
        (torch.zeros(4, 4), ValueError, r"x has shape \(4, 4\): expected \(N, C, H, W\) or \(C, H, W\)"),
        (torch.zeros(1, 2, 0, 3), ValueError, "expected at least 1 pixel along height and width"),
    ],
)
def test_what_is_no_map_is_named(x, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check_map(x)


def test_an_unknown_normalisation_is_named_with_the_known_ones() -> None:
    check_norm("ortho")
    with pytest.raises(ValueError, match="norm='orto': expected one of 'backward', 'ortho', 'forward'"):
        check_norm("orto")
