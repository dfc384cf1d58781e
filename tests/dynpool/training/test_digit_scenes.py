"""Scenes are the same in every run, their masks are where digits were pasted, and no digit is in both splits."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dynpool.training import digit_scenes as module
from dynpool.training.data import load_data
from dynpool.training.data_config import DataConfig
from dynpool.training.digit_scenes import CLASSES, digit_scenes
from dynpool.training.digits import digit_images
from dynpool.training.segmentation import IGNORED


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(module, "SCENES", {"train": 12, "test": 8})


@pytest.mark.usefixtures("few")
def test_scenes_are_always_the_same_and_differ_from_each_other():
    one, two = (digit_scenes(DataConfig("digits-scene", resolution=48)) for _ in range(2))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
    images = np.concatenate([one["train_images"], one["test_images"]])
    assert images.shape == (20, 1, 48, 48)
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20


@pytest.mark.usefixtures("few")
def test_masks_have_the_classes_and_lie_on_bright_pixels():
    arrays = digit_scenes(DataConfig("digits-scene", resolution=64))
    images, masks = arrays["train_images"][:, 0], arrays["train_labels"]
    assert masks.shape == (12, 64, 64)
    assert set(np.unique(masks)) <= {*range(len(CLASSES)), IGNORED}
    digit = (masks > 0) & (masks != IGNORED)
    assert 0.03 < digit.mean() < 0.3
    assert images[digit].mean() > 2 * images[masks == 0].mean()
    # every digit lies apart from the others: within a component of marked pixels there is one class
    for mask in masks:
        parts, count = ndimage.label(mask > 0, structure=np.ones((3, 3)))
        for part in range(1, count + 1):
            assert len(set(np.unique(mask[parts == part])) - {IGNORED}) <= 1


@pytest.mark.usefixtures("few")
def test_digits_have_different_sizes():
    masks = digit_scenes(DataConfig("digits-scene", resolution=64))["train_labels"]
    heights = []
    for mask in masks:
        parts, _ = ndimage.label(mask > 0, structure=np.ones((3, 3)))
        heights += [rows.stop - rows.start for rows, _ in ndimage.find_objects(parts)]
    assert min(heights) <= 9
    assert max(heights) >= 20


def test_splits_are_of_different_digits(monkeypatch):
    """Were the digits of one split all black, its scenes would have no digit, and those of the other still all."""
    found = digit_images(DataConfig())
    monkeypatch.setattr(module, "SCENES", {"train": 4, "test": 4})
    monkeypatch.setattr(module, "digit_images", lambda config: {**found, "test_images": 0 * found["test_images"]})
    arrays = digit_scenes(DataConfig("digits-scene"))
    assert not arrays["test_labels"].any()
    assert all(mask.any() for mask in arrays["train_labels"])


@pytest.mark.usefixtures("few")
def test_the_dataset_keeps_masks_as_bytes_and_holds_scenes_out():
    config = DataConfig("digits-scene", resolution=32, validation=0.25, train_images=5, channels=3)
    data = load_data(config)
    assert data.input_size == (3, 32, 32)
    assert data.classes == CLASSES
    assert (len(data.train), len(data.test)) == (5, 3)
    images, masks = next(iter(data.train.batches(4)))
    assert images.shape == (4, 3, 32, 32)
    assert masks.shape == (4, 32, 32)
    assert masks.dtype == torch.uint8
