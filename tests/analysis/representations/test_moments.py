"""Running moments equal those of all samples at once."""

import numpy as np
import pytest
import torch

from dynpool.analysis.representations import moments as module
from dynpool.analysis.representations.moments import Moments, moments_bytes


@pytest.mark.parametrize("mean", [0.0, 1e5])
def test_covariance_is_that_of_all_samples(monkeypatch, mean):
    monkeypatch.setattr(module, "MOST_VALUES", 50)  # several parts a batch
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(30, 4, 6, generator=generator, dtype=torch.float64).cumsum(1) + mean
    moments = Moments(4, torch.device("cpu"))
    for part in maps.split([1, 7, 22]):
        moments.add(part)
    samples = maps.numpy().transpose(0, 2, 1).reshape(-1, 4)
    assert moments.samples == 180
    np.testing.assert_allclose(moments.covariance.numpy(), np.cov(samples.T, bias=True), rtol=1e-9)


def test_half_precision_is_summed_in_float64():
    maps = torch.full((4, 1, 4096), 1.0, dtype=torch.float16)
    maps[:, :, ::2] = 1.001953125
    moments = Moments(1, torch.device("cpu"))
    moments.add(maps)
    assert float(moments.covariance) == pytest.approx((0.001953125 / 2) ** 2, rel=1e-12)


def test_no_sample():
    with pytest.raises(ValueError, match="without a sample"):
        _ = Moments(3, torch.device("cpu")).covariance


def test_bytes_are_those_of_its_tensors():
    moments = Moments(7, torch.device("cpu"))
    moments.add(torch.ones(1, 7, 2))
    tensors = [value for value in vars(moments).values() if isinstance(value, torch.Tensor)]
    assert moments_bytes(7) == sum(t.nbytes for t in tensors)
