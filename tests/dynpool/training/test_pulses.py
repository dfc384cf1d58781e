"""A series has two pulses as wide and as far apart as its class says, the same in every run."""

import numpy as np
import pytest

from dynpool.training import pulses as module
from dynpool.training.data import load_data
from dynpool.training.data_config import DataConfig
from dynpool.training.errors import ConfigError
from dynpool.training.pulses import DISTANCES, PULSES, WIDTHS, pulse_series

CONFIG = DataConfig("pulses", resolution=128)


def test_pulses_are_as_wide_and_as_far_apart_as_the_class_says(monkeypatch):
    monkeypatch.setattr(module, "NOISE", 0.0)
    arrays = pulse_series(CONFIG)
    for series, label in zip(arrays["train_images"][:64, 0].astype(float), arrays["train_labels"], strict=False):
        first, second, distance = PULSES[label].split(", ")
        value = series / 255 - 0.25
        middle = (np.flatnonzero(value > 0.25)[0] + np.flatnonzero(value > 0.25)[-1]) // 2
        centres, widths = [], []
        for part, start in ((value[:middle], 0), (value[middle:], middle)):
            place = np.arange(len(part)) + start
            centre = (part * place).sum() / part.sum()
            centres.append(centre)
            widths.append(part.sum() / part.max() / np.sqrt(2 * np.pi))
        apart = (centres[1] - centres[0]) / 128
        assert 0.85 * DISTANCES[distance] < apart < 1.15 * DISTANCES[distance]
        assert widths == pytest.approx([WIDTHS[first], WIDTHS[second]], rel=0.15)


def test_pulses_are_at_different_places_in_noise(monkeypatch):
    noisy = pulse_series(CONFIG)
    monkeypatch.setattr(module, "NOISE", 0.0)
    clean = pulse_series(CONFIG)
    noise = (noisy["train_images"].astype(float) - clean["train_images"]) / 255
    assert noise.std() == pytest.approx(0.12, rel=0.05)
    begins = (clean["train_images"][:, 0] > 0.5 * 255).argmax(1)  # of the first pulse
    assert min(begins[clean["train_labels"] == label].std() for label in range(len(PULSES))) > 10


def test_series_are_the_same_in_every_run_and_classes_as_frequent_as_each_other():
    one, two = pulse_series(CONFIG), pulse_series(CONFIG)
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert len(set(np.bincount(one["train_labels"]))) == len(set(np.bincount(one["test_labels"]))) == 1
    every = np.concatenate([one["train_images"], one["test_images"]])[:, 0]
    assert len(np.unique(every, axis=0)) == len(every)


def test_series_are_data_of_one_axis():
    data = load_data(CONFIG)
    assert data.input_size == (1, 128)
    series, _ = next(iter(data.train.batches(len(data.train))))
    assert float(series.mean()) == pytest.approx(0, abs=1e-3)
    assert float(series.std()) == pytest.approx(1, abs=1e-3)


def test_a_short_series_is_refused():
    with pytest.raises(ConfigError, match=r"data\.resolution is 32; allowed: 64 to 4096, as data.name is pulses"):
        DataConfig("pulses", resolution=32)
