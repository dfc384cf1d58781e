"""The embedded digits: each is in one split, and every class in both."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dynpool.training.data_config import DataConfig
from dynpool.training.digits import digit_images
from dynpool.training.errors import DataError


def test_every_digit_is_in_one_split():
    arrays = digit_images(DataConfig(test_fraction=0.3))
    found = np.concatenate([arrays["train_images"], arrays["test_images"]]).reshape(-1, 64)
    given = np.rint(load_digits().data * (255 / 16))
    assert sorted(map(bytes, found)) == sorted(map(bytes, given.astype(np.uint8)))
    for label in range(10):
        test, train = ((arrays[f"{split}_labels"] == label).sum() for split in ("test", "train"))
        assert test == round(0.3 * (test + train))


def test_a_split_without_a_class_is_refused():
    with pytest.raises(DataError, match="takes 0 of the 178 images of class '0'"):
        digit_images(DataConfig(test_fraction=0.001))
