"""Figures of a task are those of all its images, and networks that do not fit it are refused."""

import pytest
import torch
from torch import nn

from dynpool.analysis.common.metric import ACCURACY, MIOU
from dynpool.training.config import RunConfig
from dynpool.training.config_sections import ModelConfig
from dynpool.training.data_config import DataConfig
from dynpool.training.errors import ConfigError
from dynpool.training.models import build_model
from dynpool.training.objective import task_loss
from dynpool.training.segmentation import IGNORED, confusion, mean_iou
from dynpool.training.tasks import task_of

SCENE = RunConfig(task="segmentation", data=DataConfig("digits-scene"))


def test_the_figures_of_batches_are_those_of_all_images():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 3, 4, 4, generator=generator)
    masks = torch.randint(0, 3, (6, 4, 4), generator=generator)
    task = task_of(SCENE, 3)
    counts = torch.stack([task.count(s, m) for s, m in zip(scores.split(4), masks.split(4), strict=True)]).sum(0)
    figures = task.figures(counts, 6)
    assert figures["miou"] == mean_iou(confusion(scores, masks))
    assert figures["accuracy"] == pytest.approx(float((scores.argmax(1) == masks).double().mean()))
    assert task.metric is MIOU
    assert task.counts == counts.numel() == 9


def test_classification_counts_right_images_also_of_mixed_ones():
    task = task_of(RunConfig(), 3)
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    assert task.count(logits, torch.tensor([0, 2, 2])).tolist() == [2]
    mixed = torch.tensor([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.9, 0.1, 0.0]])
    assert task.count(logits, mixed).tolist() == [2]
    assert task.figures(torch.tensor([2.0]), 4) == {"accuracy": 0.5}
    assert task.metric is ACCURACY


def test_losses_of_parts_have_the_mean_of_the_batch():
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (5, 4, 4), generator=generator)
    masks[0, 1:], masks[3] = IGNORED, IGNORED
    for config, targets, shape in ((SCENE, masks, (5, 3, 4, 4)), (RunConfig(), masks[:, 0, 0] % 3, (5, 3))):
        task, loss = task_of(config, 3), task_loss(config)
        scores = torch.randn(shape, generator=generator, dtype=torch.float64)
        parts = zip(scores.tensor_split(3), targets.tensor_split(3), strict=True)
        total = sum(loss(own, wanted) * task.share(wanted, targets) for own, wanted in parts)
        torch.testing.assert_close(total, loss(scores, targets))
    nothing = torch.full((2, 4, 4), IGNORED)
    assert float(task_of(SCENE, 3).share(nothing[:1], nothing)) == 0


class Named(nn.Module):
    """Scores under a name."""

    def __init__(self, name):
        super().__init__()
        self.name, self.layer = name, nn.Conv2d(1, 3, 1)

    def forward(self, x):
        return {self.name: self.layer(x)}


def test_networks_without_scores_for_every_pixel_are_refused():
    task = task_of(SCENE, 3)
    task.check(nn.Conv2d(1, 3, 3, stride=2), (1, 8, 8))
    task.check(Named("out"), (1, 8, 8))
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    for network, said in ((pooled, "returns 1x3 for an image of 1x8x8"), (nn.Conv2d(1, 4, 1), "returns 1x4x8x8")):
        with pytest.raises(ConfigError, match=f"{said}.*needs scores of 1x3xHxW"):
            task.check(network, (1, 8, 8))


class Several(nn.Module):
    """Scores of images and of pixels, as a tuple or under names."""

    def __init__(self, names):
        super().__init__()
        self.names, self.layer = names, nn.Conv2d(1, 3, 1)

    def forward(self, x):
        scores = self.layer(x)
        both = (scores.mean((2, 3)), scores)
        return both if self.names is None else dict(zip(self.names, both, strict=True))


def test_what_counts_is_under_out_whatever_else_is_returned():
    task = task_of(SCENE, 3)
    task.check(Several(("aux", "out")), (1, 8, 8))
    refused = {
        ("out", "aux"): r"a mapping \('out': 1x3, 'aux': 1x3x8x8\)", ("aux", "scores"): r"a mapping \('aux': 1x3, ",
        None: "a tuple",
    }  # fmt: skip
    for names, said in refused.items():
        with pytest.raises(ConfigError, match=f"returns {said}.*needs scores of 1x3xHxW"):
            task.check(Several(names), (1, 8, 8))


def test_a_network_that_cannot_take_the_images_says_why():
    """The maps of an HRNet meet in whole pixels only if the image can be halved five times."""
    config = RunConfig(
        task="segmentation", data=DataConfig("digits-scene", resolution=48),
        model=ModelConfig("hrnet-segmentation", {"backbone": "hrnet_w18_small"}),
    )  # fmt: skip
    with torch.device("meta"):
        network = build_model(config.model, num_classes=11, in_channels=1)
    with pytest.raises(ConfigError, match=r"'hrnet-segmentation': the model cannot run at input_size=\(1, 48, 48\)"):
        task_of(config, 11).check(network, (1, 48, 48))
