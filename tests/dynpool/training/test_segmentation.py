"""Scores, loss, confusion matrix and mean IoU of segmentation, against torchmetrics and slow restatements."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from dynpool.training.segmentation import (
    IGNORED,
    confusion,
    mean_iou,
    pixel_accuracy,
    pixel_cross_entropy,
    scores_at,
    sliding_scores,
)

K = 5


def drawn(classes=K, used=K, seed=0):
    """Scores (3, classes, 6, 7), and masks of the first `used` classes, a tenth of whose pixels do not count."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, classes, 6, 7, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, used, (3, 6, 7), generator=generator)
    masks[torch.rand(3, 6, 7, generator=generator) < 0.1] = IGNORED
    assert (masks == IGNORED).any()
    return scores, masks.to(torch.uint8)


@pytest.mark.parametrize("used", [K, K - 2, 1])
@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_torchmetrics(used, seed):
    scores, masks = drawn(used=used, seed=seed)
    scores[:, used:] -= 100 * (seed == 0)  # classes that neither masks nor predictions have do not count
    matrix = confusion(scores, masks)
    wanted = masks.long()
    theirs = MulticlassConfusionMatrix(K, ignore_index=IGNORED)(scores, wanted)
    assert torch.equal(matrix, theirs)
    iou = MulticlassJaccardIndex(K, ignore_index=IGNORED)(scores, wanted)
    assert mean_iou(matrix) == pytest.approx(float(iou), abs=1e-6)
    accuracy = MulticlassAccuracy(K, average="micro", ignore_index=IGNORED)(scores, wanted)
    assert pixel_accuracy(matrix) == pytest.approx(float(accuracy), abs=1e-6)


def test_mean_iou_of_counts_by_hand():
    counts = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert mean_iou(counts) == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert pixel_accuracy(counts) == pytest.approx(9 / 12)


def test_without_pixels_figures_and_loss_are_zero():
    scores, masks = drawn()
    masks.fill_(IGNORED)
    matrix = confusion(scores, masks)
    assert mean_iou(matrix) == pixel_accuracy(matrix) == 0
    assert float(pixel_cross_entropy(scores.requires_grad_(), masks)) == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_pixels_that_count(smoothing):
    scores, masks = drawn()
    logs = scores.log_softmax(1).numpy()
    values = []
    for n, y, x in zip(*np.nonzero(masks.numpy() != IGNORED), strict=True):
        target = np.full(K, smoothing / K)
        target[masks[n, y, x]] += 1 - smoothing
        values.append(-(target * logs[n, :, y, x]).sum())
    found = pixel_cross_entropy(scores, masks, label_smoothing=smoothing)
    assert float(found) == pytest.approx(np.mean(values), abs=1e-12)


def test_scores_of_another_size_are_interpolated_bilinearly_and_taken_out_of_a_mapping():
    small = torch.arange(4.0, dtype=torch.float64).view(1, 1, 1, 4)
    found = scores_at({"out": small, "aux": torch.zeros(1)}, torch.Size((1, 8)))
    # without aligned corners: sample k of 8 lies at (k + 0.5) / 2 - 0.5, clamped to the first and the last
    expected = (torch.arange(8, dtype=torch.float64).add(0.5) / 2 - 0.5).clamp(0, 3)
    assert torch.allclose(found.flatten(), expected, atol=1e-12)
    assert scores_at(small, torch.Size((1, 4))) is small


def test_windows_cover_an_image_and_their_scores_are_averaged():
    images = torch.randn(1, 2, 11, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    taken = []

    def network(window):
        taken.append(tuple(window.shape[-2:]))
        return window + len(taken)  # another offset for each window

    found = sliding_scores(network, images, (6, 8))
    # starts at 0, 2 or 3 and 5: 5 pixels in two steps of at most two thirds of 6
    assert taken == [(6, 8)] * 3
    offsets = (found - images)[0, 0, :, 0]
    starts = [0, 2, 5]
    expected = [np.mean([k + 1 for k, start in enumerate(starts) if start <= y < start + 6]) for y in range(11)]
    assert torch.allclose(offsets, torch.tensor(expected, dtype=torch.float64))


def test_one_window_is_the_whole_image():
    network = nn.Conv2d(2, 3, 3, padding=1)
    images = torch.randn(2, 2, 8, 8)
    assert torch.allclose(sliding_scores(network, images, (8, 8)), network(images))
    with pytest.raises(ValueError, match="images of 8x8 pixels have no window of 9x9"):
        sliding_scores(network, images, (9, 9))


def test_half_precision_is_summed_in_full():
    """The loss of scores that a run of lower precision gives is that of their values."""
    scores, masks = drawn()
    low = scores.bfloat16().float()
    assert float(pixel_cross_entropy(low, masks)) == pytest.approx(
        float(F.cross_entropy(low.double(), masks.long(), ignore_index=IGNORED)), rel=1e-5
    )
