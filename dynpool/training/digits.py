"""scikit-learn's handwritten digits, which are embedded in it."""

import numpy as np
import torch

from .cache import Arrays
from .data_config import DataConfig
from .errors import DataError
from .seeding import generator_for

__all__ = ["digit_images"]


def digit_images(config: DataConfig) -> Arrays:
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels, with a fixed split per class.

    Raises:
        DataError: if a class has too few images for `test_fraction`.
    """
    from sklearn.datasets import load_digits  # a second to import, so only when needed

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = torch.randperm(len(labels), generator=generator_for("digits")).numpy()
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = order[labels[order] == label]
        taken = round(len(members) * config.test_fraction)
        if not 0 < taken < len(members):
            raise DataError(
                f"data.test_fraction is {config.test_fraction!r}, which takes {taken} of the {len(members)} images of "
                f"class '{label}': every class needs at least one training and one test image"
            )
        test[members[:taken]] = True
    return {
        "train_images": pixels[~test],
        "train_labels": labels[~test],
        "test_images": pixels[test],
        "test_labels": labels[test],
    }
