"""The task loss and mixed batches, beside restatements by image and class."""

import math

import pytest
import torch
from torch import Tensor

from dynpool.training.config import RunConfig
from dynpool.training.objective import binary_cross_entropy, mixed, task_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_image_by_image_and_class_by_class(smoothing: float) -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1, 1, 0])
    total = 0.0
    for i in range(5):
        for k in range(3):
            p = 1 / (1 + math.exp(-float(logits[i, k])))
            wanted = (float(labels[i]) == k) * (1 - smoothing) + smoothing / 3
            total -= wanted * math.log(p) + (1 - wanted) * math.log(1 - p)
    found = task_loss(RunConfig(loss="bce", label_smoothing=smoothing))(logits, labels)
    assert float(found) == pytest.approx(total / 15, rel=1e-12)
    one_hot = torch.nn.functional.one_hot(labels, 3).double()
    assert torch.equal(binary_cross_entropy(logits, one_hot, label_smoothing=smoothing), found)


def batch() -> tuple[Tensor, Tensor]:
    images = torch.arange(6.0)[:, None, None, None].expand(6, 1, 8, 8).contiguous()  # each of one value, its number
    return images, torch.tensor([0, 1, 2, 0, 1, 2])


def test_an_unmixed_batch_is_returned_as_it_is() -> None:
    images, labels = batch()
    assert mixed(images, labels, RunConfig(), 3, (1, 0)) == (images, labels)


def test_mixup_weighs_images_and_labels_alike() -> None:
    images, labels = batch()
    found, targets = mixed(images, labels, RunConfig(mixup=1.0), 3, (1, 0))
    share = float(found[1, 0, 0, 0])  # of image 1, with image 0
    assert 0 < share < 1
    for i in range(1, 6):
        assert torch.allclose(found[i], torch.full((1, 8, 8), i * share + (i - 1) * (1 - share)))
        wanted = torch.zeros(3)
        wanted[labels[i]] += share
        wanted[labels[i - 1]] += 1 - share
        assert torch.allclose(targets[i], wanted)


def test_cutmix_pastes_a_box_and_weighs_labels_by_its_area() -> None:
    images, labels = batch()
    found, targets = mixed(images, labels, RunConfig(cutmix=1.0), 3, (1, 3))
    for i in range(1, 6):
        own = (found[i] == i).double().mean()
        assert torch.isin(found[i], torch.tensor([float(i), i - 1.0])).all()
        assert float(targets[i, labels[i]]) == pytest.approx(float(own))
        assert float(targets[i].sum()) == pytest.approx(1)


def test_draws_depend_on_seed_and_step_alone() -> None:
    images, labels = batch()
    config = RunConfig(mixup=0.8, cutmix=1.0)
    state = torch.get_rng_state()
    first = [mixed(images, labels, config, 3, (1, step))[0] for step in range(8)]
    assert torch.equal(torch.get_rng_state(), state), "the generator of the network is left alone"
    torch.rand(3)
    again = [mixed(images, labels, config, 3, (1, step))[0] for step in range(8)]
    assert all(map(torch.equal, first, again))
    whole = [bool((found == found.round()).all()) for found in first]
    assert True in whole, "some are cut"
    assert False in whole, "and some are weighed"
    assert not torch.equal(mixed(images, labels, RunConfig(mixup=0.8, cutmix=1.0, seed=1), 3, (1, 0))[0], first[0])
