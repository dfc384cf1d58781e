"""Which training images a configuration holds out or keeps, class by class and the same for every seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import DataError
from .seeding import generator_for

__all__ = ["chosen_images"]


def chosen_images(key: str, labels: Tensor, share: float, classes: Sequence[str]) -> Tensor:
    """Whether each training image is one of those that a key of `data` chooses: (N,) bool, for all seeds alike.

    They are drawn in each class. The classes have the same proportions as before, rounded so that the total is `share`
    of the images, or the number. Images with masks, whose labels have several axes, are of one kind.
    """
    if labels.ndim > 1:
        labels, classes = torch.zeros(len(labels), dtype=torch.int64), ("images with masks",)
    counts = torch.bincount(labels, minlength=len(classes)).double()
    fraction = share if share < 1 else share / len(labels)
    ends = (counts.cumsum(0) * fraction).round().long()
    per_class = ends.diff(prepend=ends.new_zeros(1))
    for name, have, taken in zip(classes, counts.long().tolist(), per_class.tolist(), strict=True):
        both = key == "validation"
        if not 0 < taken <= have - both:
            shown = f"{share:g}" if share < 1 else f"{share:.0f}"
            raise DataError(
                f"data.{key} is {shown}, which takes {taken} of the {have} training images of class {name!r}: "
                f"every class needs at least one {'training and one validation image' if both else 'image'}"
            )
    order = torch.randperm(len(labels), generator=generator_for(key))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(per_class.tolist()):
        chosen[order[labels[order] == label][:count]] = True
    return chosen
