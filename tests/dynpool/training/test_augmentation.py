"""Augmentation draws what it is asked for: from its generator for a batch, from a key for an image."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dynpool.training.augmentation import Augmentation, Draws
from dynpool.training.config_sections import DataConfig
from dynpool.training.seeding import generator_for


def moved(images: Tensor, augmentation: Augmentation) -> Tensor:
    return augmentation.moved(images, augmentation.draw(len(images), generator_for("test")))


def test_it_shifts_within_reach_and_brings_in_black():
    image = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    image[:, :, 4, 4] = 255
    found = moved(image, Augmentation(shift=2))
    assert found.dtype == torch.uint8
    assert (found.flatten(1).long().sum(1) == 255).all()
    places = found[:, 0].nonzero()[:, 1:]
    assert places.min() == 2
    assert places.max() == 6
    assert len(places.unique(dim=0)) == 25


def test_it_mirrors_about_half_of_the_images():
    image = torch.arange(4, dtype=torch.uint8).expand(1000, 1, 2, 4)
    mirrored = moved(image, Augmentation(flip=True))[:, 0, 0, 0] == 3
    assert 420 < int(mirrored.sum()) < 580


def test_a_crop_takes_at_least_its_share_of_the_area_and_is_resized():
    across = torch.arange(100, dtype=torch.uint8).expand(1, 100, 100)  # each pixel holds its column
    augmentation = Augmentation(side=100, crop=0.25)
    widths = []
    for key in range(40):
        found = augmentation.one(across, 0, 1, key)
        assert found.shape == (1, 100, 100)
        widths.append(int(found.max()) - int(found.min()) + 1)
    assert min(widths) >= 100 * (0.25 * 3 / 4) ** 0.5 - 2
    assert max(widths) <= 100
    assert len(set(widths)) > 10


def test_a_pil_image_and_its_pixels_are_erased_alike():
    pixels = np.full((12, 12, 3), 200, dtype=np.uint8)
    augmentation = Augmentation(side=12, erase=1.0)
    one = augmentation.one(Image.fromarray(pixels), 1, 2, 3)
    assert torch.equal(one, augmentation.one(torch.from_numpy(pixels).permute(2, 0, 1), 1, 2, 3))
    assert set(one.unique().tolist()) == {0, 200}


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_changes_images_and_keeps_their_shape(channels):
    images = [torch.randint(256, (channels, 16, 16), dtype=torch.uint8, generator=generator_for(k)) for k in range(20)]
    augmentation = Augmentation(side=16, rand_augment=15)
    found = [augmentation.one(image, 0, 0, k) for k, image in enumerate(images)]
    assert all(image.shape == (channels, 16, 16) and image.dtype == torch.uint8 for image in found)
    assert sum(not torch.equal(a, b) for a, b in zip(images, found, strict=True)) > 10


def test_an_augmentation_that_changes_no_single_image_says_so():
    augmentation = Augmentation.of(DataConfig(shift=0.25, flip=True, resolution=16))
    assert augmentation == Augmentation(shift=4, flip=True, side=16)
    assert augmentation.each is None
    with pytest.raises(ValueError, match="changes no image by itself"):
        augmentation.one(torch.zeros(1, 16, 16, dtype=torch.uint8), 0)


def test_a_pair_is_changed_alike_whatever_is_drawn():
    """A mask that is the image's first channel, of two classes, stays so, where it counts."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 2, (5, 5), generator=generator).repeat_interleave(8, 0).repeat_interleave(8, 1)
    image = (255 * blocks).to(torch.uint8).expand(3, -1, -1)
    augmentation = Augmentation(side=32, flip=True, masks=True, scale=(0.5, 2.0))
    shown = set()
    for number in range(20):
        changed, mask = augmentation.pair(image, blocks.to(torch.uint8), 0, 1, number)
        assert changed.shape == (3, 32, 32)
        counted = mask != 255
        assert not changed[:, ~counted].any()
        right = (changed[0][counted] > 127) == (mask[counted] == 1)
        assert right.double().mean() > 0.9  # the edges of blocks are interpolated
        shown.add(round(float(counted.double().mean()), 2))
    assert len(shown) > 3  # of different sizes


@pytest.mark.parametrize("flip", [False, True])
def test_a_pair_is_mirrored_only_if_asked_for(flip):
    """Of the size of the crop, it is otherwise as it was."""
    image = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
    augmentation = Augmentation(side=8, flip=flip, masks=True)
    pairs = [augmentation.pair(image, image[0], 0, 1, number) for number in range(40)]
    mirrored = [not torch.equal(changed, image) for changed, _ in pairs]
    assert 10 < sum(mirrored) < 30 if flip else not any(mirrored)
    for (changed, mask), mirror in zip(pairs, mirrored, strict=True):
        assert torch.equal(changed, image.flip(-1) if mirror else image)
        assert torch.equal(mask, changed[0])


def test_images_with_masks_are_not_moved_by_batch():
    augmentation = Augmentation(side=8, flip=True, masks=True)
    assert augmentation.draw(5, torch.Generator()) == Draws(None, None)


@pytest.mark.parametrize("size", [(2, 3, 7, 6), (2, 9)])
def test_clips_and_sequences_are_moved_along_their_last_axes(size):
    """A clip as each of its frames would be; a sequence as the row of an image would be."""
    augmentation = Augmentation(shift=2, flip=True, side=7)
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(0, 256, (12, *size), generator=generator).to(torch.uint8)
    draws = augmentation.draw(12, generator)
    moved = augmentation.moved(data, draws)
    assert moved.shape == data.shape
    assert draws.mirrored is not None
    assert draws.moves is not None
    for number, one in enumerate(data):
        rows, columns = (int(move) - 2 for move in draws.moves[number])
        expected = one.flip(-1) if draws.mirrored[number] else one
        for axis, move in ((-1, columns), (-2, rows)):
            if len(size) > 2 or axis == -1:
                expected = _cut(expected, axis, move)
        assert torch.equal(moved[number], expected)


def _cut(x: torch.Tensor, axis: int, move: int) -> torch.Tensor:
    """The pixels from `move` on, and black ones where there are none."""
    rolled = x.roll(-move, axis)
    n = x.shape[axis]
    black = range(n - move, n) if move > 0 else range(-move)
    return rolled.index_fill(axis, torch.tensor(list(black), dtype=torch.int64), 0)
