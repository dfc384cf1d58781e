"""Batches of a split follow from (seed, epoch); streamed images are those that memory would hold."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from dynpool.training.augmentation import Augmentation
from dynpool.training.config_sections import DataConfig
from dynpool.training.data import load_data
from dynpool.training.errors import DataError
from tests.dynpool.training.image_folders import image_folder


def test_batches_follow_from_seed_and_epoch_alone():
    train = load_data(DataConfig(resolution=8)).train

    def labels(seed, epoch):
        return torch.cat([y for _, y in train.batches(100, seed=seed, epoch=epoch)])

    def images(seed, epoch):
        return torch.cat(
            [x for x, _ in train.batches(100, seed=seed, epoch=epoch, augmentation=Augmentation(shift=2, flip=True))]
        )

    assert torch.equal(labels(0, 1), labels(0, 1))
    assert not torch.equal(labels(0, 1), labels(0, 2))
    assert not torch.equal(labels(0, 1), labels(1, 1))
    assert torch.equal(images(0, 1), images(0, 1))
    assert torch.equal(labels(0, 1).sort().values, train.labels.sort().values)


def test_processes_share_the_batches_of_one():
    train = load_data(DataConfig(resolution=8)).train
    whole = list(train.batches(101, seed=0, epoch=1, augmentation=Augmentation(shift=2)))
    parts = [
        list(train.batches(101, seed=0, epoch=1, augmentation=Augmentation(shift=2), share=(rank, 3)))
        for rank in range(3)
    ]
    for i, (x, y) in enumerate(whole):
        for rank in range(3):
            assert torch.equal(parts[rank][i][0], x[rank::3])
            assert torch.equal(parts[rank][i][1], y[rank::3])


def test_without_seed_order_and_images_are_kept():
    test = load_data(DataConfig(resolution=8)).test
    assert torch.equal(torch.cat([x for x, _ in test.batches(64)]), test.normalised(test.images))


@pytest.fixture
def streamed(tmp_path):
    """The same small images in memory and streamed by two processes."""
    root = image_folder(tmp_path / "images")
    settings = DataConfig("folder", root=str(root), cache=str(tmp_path), resolution=8, normalise="imagenet")
    return load_data(settings), load_data(replace(settings, stream=True, workers=2))


def test_streamed_images_are_those_in_memory(streamed):
    memory, stream = streamed
    assert stream.input_size == memory.input_size == (3, 8, 8)
    for options in ({}, {"seed": 0, "epoch": 2, "augmentation": Augmentation(shift=1, flip=True, side=8), "skip": 1}):
        expected, found = (list(data.train.batches(16, **options)) for data in streamed)
        assert len(expected) == len(found) > 1
        for (x, y), (other, label) in zip(expected, found, strict=True):
            assert torch.equal(x, other)
            assert torch.equal(y, label)


def test_what_is_drawn_image_by_image_depends_on_neither_workers_nor_processes_nor_a_restart(streamed):
    _, stream = streamed
    augmentation = Augmentation(side=8, crop=0.3, rand_augment=9, erase=0.5, flip=True)
    state = torch.get_rng_state()
    whole = list(stream.train.batches(10, seed=3, epoch=1, augmentation=augmentation))
    assert torch.equal(torch.get_rng_state(), state)
    alone = replace(stream.train, workers=0)
    for start in (0, 2):
        rest = list(alone.batches(10, seed=3, epoch=1, augmentation=augmentation, skip=start))
        assert all(torch.equal(x, other) for (x, _), (other, _) in zip(whole[start:], rest, strict=True))
    half = list(alone.batches(10, seed=3, epoch=1, augmentation=augmentation, share=(1, 2)))
    assert all(torch.equal(x[1::2], other) for (x, _), (other, _) in zip(whole, half, strict=True))
    later = list(alone.batches(10, seed=3, epoch=2, augmentation=augmentation))
    assert not torch.equal(later[0][0], whole[0][0])


def test_parts_of_streamed_splits_are_those_in_memory(tmp_path):
    root = image_folder(tmp_path / "images")
    settings = DataConfig("folder", root=str(root), cache=str(tmp_path), resolution=8, normalise="imagenet")
    settings = replace(settings, validation=0.25, train_images=9)
    memory, stream = load_data(settings), load_data(replace(settings, stream=True, workers=0))
    for one, other in ((memory.train, stream.train), (memory.test, stream.test)):
        expected, found = (torch.cat([x for x, _ in split.batches(50)]) for split in (one, other))
        assert torch.equal(expected, found)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_is_named(tmp_path, workers):
    root = image_folder(tmp_path / "images")
    damaged = root / "train" / "class1" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    settings = DataConfig("folder", root=str(root), resolution=8, normalise="imagenet", stream=True, workers=workers)
    with pytest.raises(DataError, match=rf"^{damaged}: cannot be decoded"):
        list(load_data(settings).train.batches(16, seed=0))


def test_a_margin_keeps_the_centre_of_a_larger_image(tmp_path):
    root = image_folder(tmp_path / "images", side=16)
    settings = DataConfig("folder", root=str(root), cache=str(tmp_path), resolution=8)
    whole, centre = (
        load_data(replace(settings, resolution=side, margin=margin)) for side, margin in ((16, 1), (8, 0.5))
    )
    assert torch.equal(centre.test.images, whole.test.images[:, :, 4:12, 4:12])
    assert len(os.listdir(tmp_path)) == 3, "each has a cache of its own"


def test_a_process_may_have_no_part_of_a_small_batch(streamed):
    for data in streamed:
        parts = [list(data.test.batches(len(data.test) - 1, share=(rank, 2)))[-1] for rank in range(2)]
        assert [(tuple(images.shape), len(labels)) for images, labels in parts] == [
            ((1, 3, 8, 8), 1),
            ((0, 3, 8, 8), 0),
        ]


def test_a_program_that_fails_among_streamed_images_ends(streamed):
    """Its workers are told to end by a signal that they leave to the main process while that runs."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from dynpool.training import splits\n"
        "splits.GRACE = 1\n"
        f"files = tuple(map(Path, {[str(path) for path in streamed[1].train.files]!r}))\n"
        "unit = torch.ones(1, 3, 1, 1)\n"
        "split = splits.StreamedImages(torch.zeros(len(files)), unit, unit, files, 8, 3, 2, 1.0)\n"
        "batches = split.batches(4)\n"
        "next(batches)\n"
        "sys.kept = batches\n"
        "raise SystemExit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
