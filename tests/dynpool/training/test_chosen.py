"""Chosen images are a share of each class; images with masks are of one kind."""

import pytest
import torch

from dynpool.training.chosen import chosen_images
from dynpool.training.errors import DataError

LABELS = torch.arange(100) % 4


@pytest.mark.parametrize(("share", "count"), [(0.25, 24), (24, 24), (0.5, 50)])
def test_a_share_of_each_class(share, count):
    chosen = chosen_images("train_images", LABELS, share, "abcd")
    assert abs(int(chosen.sum()) - count) <= 1
    per_class = torch.bincount(LABELS[chosen], minlength=4)
    assert per_class.max() - per_class.min() <= 1


def test_other_keys_choose_others():
    first, second = (chosen_images(key, LABELS, 0.5, "abcd") for key in ("train_images", "validation"))
    assert not torch.equal(first, second)


def test_images_with_masks_are_of_one_kind():
    chosen = chosen_images("validation", torch.zeros(10, 4, 4, dtype=torch.uint8), 0.3, ("background", "cat"))
    assert chosen.shape == (10,)
    assert int(chosen.sum()) == 3
    with pytest.raises(DataError, match=r"takes 12 of the 10 training images of class 'images with masks'"):
        chosen_images("train_images", torch.zeros(10, 4, 4), 12, ("background", "cat"))


def test_a_class_without_images_left_is_refused():
    with pytest.raises(DataError, match="at least one training and one validation image"):
        chosen_images("validation", LABELS, 0.99, "abcd")
