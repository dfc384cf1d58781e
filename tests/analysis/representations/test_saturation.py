"""Saturation equals the package delve and a restatement."""

from typing import Any

import delve
import numpy as np
import pytest
import torch
from delve.metrics import compute_intrinsic_dimensionality
from delve.writers import AbstractWriter

from dynpool.analysis.representations import collect, layer_saturation
from tests.analysis.representations.small import batches, network


class Told(AbstractWriter):
    """Keeps what delve writes."""

    def __init__(self):
        self.values = {}

    def resume_from_saved_state(self, initial_epoch):
        raise NotImplementedError

    def add_scalar(self, name, value, **kwargs):
        self.values[name] = value

    def add_scalars(self, prefix, value_dict, global_step=None, **kwargs):
        self.values |= value_dict

    def save(self):
        """Nothing to save."""

    def close(self):
        """Nothing to close."""


def random_covariance(seed, channels=12):
    generator = np.random.default_rng(seed)
    samples = generator.normal(size=(200, channels)) * np.exp(-generator.uniform(0, 1) * np.arange(channels))
    return torch.from_numpy(np.cov((samples @ generator.normal(size=(channels, channels))).T))


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99, 0.999])
def test_it_is_that_of_the_package_delve(threshold, tmp_path):
    data, model = batches(), network().eval()
    found: Any = collect(model, data, features=False)
    told = Told()
    settings: dict[str, Any] = {"sat_threshold": threshold, "stats": ["lsat", "idim"], "device": "cpu"}
    tracker = delve.SaturationTracker(str(tmp_path), told, model, **settings)
    with torch.no_grad():
        for images, _ in data:
            model(images)
    tracker.add_saturations(save=False)
    for name, layer in found.layers.items():
        mine = layer_saturation(layer.moments.covariance, threshold)
        assert mine.share == pytest.approx(told.values[f"eval-saturation_{name}"], abs=1e-6)
        assert mine.directions == told.values[f"eval-intrinsic-dimensionality_{name}"]
    assert len(told.values) == 2 * len(found.layers) == 10


def test_many_random_covariances_agree_with_delve_and_with_counting():
    counts = set()
    for seed in range(100):
        covariance = random_covariance(seed)
        threshold = [0.5, 0.8, 0.95, 0.99][seed % 4]
        mine = layer_saturation(covariance, threshold)
        assert mine.directions == compute_intrinsic_dimensionality(covariance, threshold)
        values = sorted(np.linalg.eigvals(covariance.numpy()).real, reverse=True)
        held, needed = 0.0, 0
        while held < threshold * sum(values):
            held, needed = held + values[needed], needed + 1
        assert (mine.directions, mine.needed, mine.dimension) == (needed - 1, needed, 12)
        assert mine.share == (needed - 1) / 12
        counts.add(mine.directions)
    assert {0, 1, 2, 3} < counts


def test_without_variance_no_direction_counts():
    found = layer_saturation(torch.zeros(4, 4))
    assert (found.directions, found.needed, found.share) == (0, 0, 0)
    assert compute_intrinsic_dimensionality(torch.zeros(4, 4)) == 0


@pytest.mark.parametrize("threshold", [0, 1, -0.5, float("nan")])
def test_threshold_out_of_range(threshold):
    with pytest.raises(ValueError, match=r"threshold=.*above 0 and below 1"):
        layer_saturation(torch.eye(2), threshold)


@pytest.mark.parametrize(
    ("covariance", "said"),
    [(torch.ones(2, 3), "square"), (torch.ones(2), "square"), (torch.full((2, 2), float("nan")), "NaN or infinite")],
)
def test_bad_covariance(covariance, said):
    with pytest.raises(ValueError, match=f"covariance .*{said}"):
        layer_saturation(covariance)
