"""Files of images and masks: scaled and padded alike, at their own size for windows, changed together in training."""

import numpy as np
import pytest
import torch
from PIL import Image

from dynpool.training.augmentation import Augmentation
from dynpool.training.data import load_data
from dynpool.training.data_config import DataConfig
from dynpool.training.errors import DataError
from dynpool.training.masked_images import fitted
from dynpool.training.segmentation import IGNORED
from tests.dynpool.training.mask_folders import CLASSES, drawn_pair, mask_folder


def config(root, **keys):
    return DataConfig(
        "mask-folder", root=str(root), stream=True, normalise="imagenet", **{"resolution": 24, "workers": 0, **keys}
    )


def tensors(number, **size) -> tuple[torch.Tensor, torch.Tensor]:
    image, mask = drawn_pair(number, **size)
    return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)


def test_the_longer_side_is_scaled_and_the_rest_padded():
    image, mask = tensors(0, height=20, width=30)
    small, classes = fitted(image, mask, 15)
    assert small.shape == (3, 15, 15)
    assert (classes[10:] == IGNORED).all()
    assert not small[:, 10:].any()
    expected = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((15, 10), Image.Resampling.BILINEAR)
    difference = small[:, :10].permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int)
    assert abs(difference).max() <= 1
    assert torch.equal(classes[:10], mask[1::2, 1::2])  # the nearest of each two, whose centres are between them
    same, its_mask = fitted(image, mask, 30)
    assert torch.equal(same[:, :20], image)
    assert torch.equal(its_mask[:20], mask)


def test_whole_images_come_in_batches_of_one_size(tmp_path):
    data = load_data(config(mask_folder(tmp_path)))
    assert data.input_size == (3, 24, 24)
    assert data.classes == CLASSES
    batches = list(data.test.batches(4))
    assert [len(masks) for _, masks in batches] == [4, 2]
    image, mask = fitted(*tensors(5), side=24)
    assert torch.equal(batches[1][1][1], mask)
    assert torch.allclose(batches[1][0][1], data.test.normalised(image[None])[0])


def test_for_windows_images_keep_their_own_size(tmp_path):
    data = load_data(config(mask_folder(tmp_path), test="sliding"))
    batches = list(data.test.batches(4))
    assert [tuple(images.shape) for images, _ in batches] == [(1, 3, 24, 30)] * 6
    image, mask = tensors(3)
    assert torch.equal(batches[3][1][0, :20], mask)
    assert (batches[3][1][0, 20:] == IGNORED).all()
    assert torch.allclose(batches[3][0][:, :, :20], data.test.normalised(image[None]))
    drawn = list(data.test.batches(4, seed=0))  # in a drawn order, as for what compares layers: of one size
    assert [tuple(images.shape) for images, _ in drawn] == [(4, 3, 24, 24), (2, 3, 24, 24)]


def test_a_single_image_in_a_drawn_order_has_the_common_size_too(tmp_path):
    test = load_data(config(mask_folder(tmp_path, images=1), test="sliding")).test
    assert [tuple(images.shape) for images, _ in test.batches(4, seed=0)] == [(1, 3, 24, 24)]


def test_processes_take_different_images_of_their_own_size(tmp_path):
    test = load_data(config(mask_folder(tmp_path, images=5), test="sliding")).test
    parts = [[len(masks) for _, masks in test.batches(4, share=(rank, 2))] for rank in (0, 1)]
    assert parts == [[1, 1, 1], [1, 1, 0]]


def test_training_pairs_are_changed_together_and_drawn_again_alike(tmp_path):
    settings = config(mask_folder(tmp_path), scale=(0.5, 2.0), flip=True)
    train = load_data(settings).train
    augmentation = Augmentation.of(settings)
    first = list(train.batches(4, seed=0, epoch=1, augmentation=augmentation))
    again = list(train.batches(4, seed=0, epoch=1, augmentation=augmentation, skip=1))
    other = list(train.batches(4, seed=0, epoch=2, augmentation=augmentation))
    assert torch.equal(first[1][0], again[0][0])
    assert torch.equal(first[1][1], again[0][1])
    assert not torch.equal(first[1][0], other[1][0])
    images, masks = (torch.cat(part) for part in zip(*first, strict=True))
    grey = (images * train.std + train.mean).mean(1)
    assert grey[masks == 1].mean() > 0.5  # the squares are bright, wherever they are now
    assert grey[masks == 2].mean() > 0.7
    assert grey[masks == 0].mean() < 0.3


def test_workers_decode_the_same(tmp_path):
    root = mask_folder(tmp_path)
    one, two = (list(load_data(config(root, workers=workers)).train.batches(4, seed=0)) for workers in (0, 2))
    assert all(torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))


def test_validation_and_train_images_choose_pairs(tmp_path):
    data = load_data(config(mask_folder(tmp_path, images=8), validation=0.25, train_images=3))
    assert (len(data.train), len(data.test)) == (3, 2)
    assert not set(data.train.files) & set(data.test.files)
    assert all(image.parents[1].name == "train" for image, _ in data.test.files)


def test_a_mask_of_another_size_is_named(tmp_path):
    root = mask_folder(tmp_path)
    Image.fromarray(np.zeros((5, 6), dtype=np.uint8)).save(root / "test" / "masks" / "2.png")
    with pytest.raises(DataError, match=r"2.png: a mask of 5x6 pixels for an image of 20x30"):
        list(load_data(config(root)).test.batches(4))
