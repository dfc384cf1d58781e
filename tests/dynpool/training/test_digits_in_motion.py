"""A clip shows a digit moving as its class says; no frame tells the class; no digit is in both splits."""

import itertools

import numpy as np
import pytest
import torch

from dynpool.training import digits_in_motion as module
from dynpool.training.data import load_data
from dynpool.training.data_config import DataConfig
from dynpool.training.digits import digit_images
from dynpool.training.digits_in_motion import DIRECTIONS, MOTIONS, SPEEDS, digits_in_motion
from dynpool.training.errors import ConfigError

CONFIG = DataConfig("digits-motion", resolution=16)


@pytest.fixture
def few(monkeypatch):
    """The first 40 digits of each split, without noise on the canvas."""
    found = digit_images(CONFIG)
    monkeypatch.setattr(module, "digit_images", lambda config: {key: part[:40] for key, part in found.items()})
    monkeypatch.setattr(module, "NOISE", 0)
    return found


@pytest.mark.usefixtures("few")
def test_clips_move_as_their_classes_say():
    arrays = digits_in_motion(CONFIG)
    for clip, label in zip(arrays["train_images"][:, 0], arrays["train_labels"], strict=True):
        direction, speed = MOTIONS[label].split(", ")
        down, right = (SPEEDS[speed] * part for part in DIRECTIONS[direction])
        assert clip.any()
        for before, after in itertools.pairwise(clip):
            assert np.array_equal(np.roll(before, (down, right), (0, 1)), after)


@pytest.mark.usefixtures("few")
def test_clips_are_always_the_same_and_classes_as_frequent_as_each_other():
    one, two = digits_in_motion(CONFIG), digits_in_motion(CONFIG)
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert one["train_images"].shape == (40, 1, 16, 16, 16)
    assert np.bincount(one["test_labels"]).tolist() == [5] * len(MOTIONS)
    assert len(np.unique(one["train_images"].reshape(40, -1), axis=0)) == 40


def test_a_clip_shows_the_digit_of_its_number(few):
    clips = digits_in_motion(CONFIG)["test_images"][:, 0]
    for clip, digit in zip(clips, few["test_images"][:40, 0], strict=True):
        assert np.array_equal(np.sort(clip[7][clip[7] > 0]), np.sort(digit[digit > 0]))


def test_no_digit_is_in_both_splits_and_classes_are_as_frequent_as_each_other_up_to_one_clip(monkeypatch):
    monkeypatch.setattr(module, "NOISE", 0)
    arrays, shown = digits_in_motion(CONFIG), []
    for split in ("train", "test"):
        counts = np.bincount(arrays[f"{split}_labels"])
        assert counts.max() - counts.min() <= 1
        frames = arrays[f"{split}_images"][:, 0, 0].astype(int)
        pairs = 256 * frames + np.roll(frames, 1, 1)  # of pixels above each other: the same wherever the digit is
        shown.append({np.sort(of_one, None).tobytes() for of_one in pairs})
    assert not shown[0] & shown[1]


def test_clips_of_both_splits_have_noise_of_their_own():
    arrays = digits_in_motion(CONFIG)
    train, test = (arrays[f"{split}_images"][:40] for split in ("train", "test"))
    assert (train == test).mean() < 0.1


def test_no_frame_tells_the_class():
    """The mean of a frame over the clips of a class is as even as that over as many clips of all classes."""
    data = load_data(CONFIG)
    frames = data.train.images[:, 0, 5].double()
    spread = [frames[data.train.labels == label].mean(0).std() for label in range(len(MOTIONS))]
    chance = [frames[torch.arange(len(frames)) % 8 == k].mean(0).std() for k in range(8)]
    assert max(spread) < 1.3 * max(chance)


def test_frames_have_their_own_noise_as_dark_as_allowed():
    clip = torch.from_numpy(digits_in_motion(CONFIG)["train_images"][0, 0]).long()
    grey = clip[clip <= module.NOISE].double()
    assert abs(float(grey.mean()) - module.NOISE / 2) < 8
    corners = clip[:, 0, 0]
    assert len(corners.unique()) > 8


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("resolution", 8, "12 to 64"),
        ("flip", True, "false"),
        ("variant", "tile", "plain"),
        ("crop", 0.5, "null"),
        ("erase", 0.5, "0, as"),
        ("channels", 3, "null"),
        ("normalise", "imagenet", "data, as"),
    ],
)
def test_settings_of_images_are_refused(key, value, allowed):
    with pytest.raises(ConfigError, match=rf"data\.{key} is .*allowed: {allowed}"):
        DataConfig("digits-motion", **{"resolution": 16, key: value})
