"""Spectral pooling with fixed strides: a hard crop of the spectrum."""

import math

import pytest
import torch
import torch._dynamo
from torch import Tensor

from dynpool.baselines import FixedSpectralPooling2d


def random_map(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "stride", "size"),
    [((16, 18), (2.0, 2.0), (8, 9)), ((15, 13), (2.0, 1.5), (6, 8)), ((9, 9), (8.0, 4.0), (2, 2))],
)
def test_keeps_the_low_frequencies_and_nothing_else(
    shape: tuple[int, int], stride: tuple[float, float], size: tuple[int, int]
) -> None:
    x, (h, w) = random_map(1, *shape), size
    y = FixedSpectralPooling2d(stride)(x)
    assert y.shape == (1, h, w)
    spectrum = torch.fft.rfft2(x)
    kept = torch.cat([spectrum[:, : h // 2], spectrum[:, -h // 2 :]], 1)[..., : w // 2 + 1]
    expected = torch.fft.irfft(torch.fft.ifft(kept, dim=-2), n=w, dim=-1)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("norm", "mean"), [("backward", 1024 / 160), ("ortho", math.sqrt(1024 / 160)), ("forward", 1)])
def test_amplitude_of_a_constant(norm: str, mean: float) -> None:
    y = FixedSpectralPooling2d((2, 3), norm=norm)(torch.ones(2, 1, 32, 32, dtype=torch.float64))  # type: ignore[arg-type]
    torch.testing.assert_close(y, torch.full((2, 1, 16, 10), mean, dtype=torch.float64))


def test_a_low_frequency_wave_is_resampled() -> None:
    rows, columns = torch.arange(20, dtype=torch.float64), torch.arange(30, dtype=torch.float64)
    x = torch.cos(2 * math.pi * (3 * rows[:, None] / 20 + 4 * columns / 30) + 0.5)
    rows, columns = rows[:10], columns[:10]
    expected = torch.cos(2 * math.pi * (3 * rows[:, None] / 10 + 4 * columns / 10) + 0.5)
    torch.testing.assert_close(FixedSpectralPooling2d((2, 3), norm="forward")(x[None])[0], expected)


def test_stride_one_keeps_even_maps_and_pixels() -> None:
    for shape in ((8, 9), (2, 3), (1, 1), (1, 6)):
        x = random_map(2, *shape)
        torch.testing.assert_close(FixedSpectralPooling2d(1)(x), x)


def test_gradient_dtype_layout_and_export() -> None:
    pool = FixedSpectralPooling2d((2, 1.5))
    assert torch.autograd.gradcheck(pool, random_map(1, 9, 8).requires_grad_())
    x = random_map(2, 3, 16, 15)
    half = x.bfloat16().to(memory_format=torch.channels_last)
    assert torch.equal(pool(half), pool(half.float()).bfloat16())
    assert pool(half).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.export.export(pool, (x,)).module()(x), pool(x))
    assert not pool.state_dict()
    assert repr(pool) == "FixedSpectralPooling2d(stride=(2, 1.5), norm='backward')"


def test_compiled_it_is_the_same() -> None:
    pool = FixedSpectralPooling2d((2, 1.5))
    x = torch.randn(2, 3, 16, 15, requires_grad=True)
    compiled = torch.compile(pool, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), pool(x))
    slopes = [torch.autograd.grad(run(x).square().sum(), x)[0] for run in (compiled, pool)]
    torch.testing.assert_close(*slopes)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("stride", "error"),
    [(0.5, ValueError), (math.nan, ValueError), (math.inf, ValueError), ((2, 0), ValueError), ((2, "3"), TypeError)],
)
def test_a_bad_stride_is_an_error(stride: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="stride="):
        FixedSpectralPooling2d(stride)


def test_bad_input_is_an_error() -> None:
    with pytest.raises(TypeError, match="stride="):
        FixedSpectralPooling2d((2, 2, 2))
    with pytest.raises(ValueError, match="norm='unit'"):
        FixedSpectralPooling2d(norm="unit")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        FixedSpectralPooling2d()(torch.zeros(4, 4))


def test_empty_batches() -> None:
    assert FixedSpectralPooling2d(2.0)(torch.zeros(0, 3, 16, 12)).shape == (0, 3, 8, 6)
