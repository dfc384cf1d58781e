"""What a run minimises: the task loss, on images and labels that mixup or CutMix may have mixed."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dynpool.common.extras import optional

from .config import RunConfig
from .seeding import generator_for
from .segmentation import pixel_cross_entropy

__all__ = ["binary_cross_entropy", "mixed", "task_loss"]


def task_loss(config: RunConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """(logits (N, K), targets) -> mean loss, a scalar; targets are classes (N,) or probabilities (N, K).

    Of segmentation: (output of the network, masks (N, H, W)) -> mean loss, see `pixel_cross_entropy`.
    """
    if config.task == "segmentation":
        return partial(pixel_cross_entropy, label_smoothing=config.label_smoothing)
    loss = binary_cross_entropy if config.loss == "bce" else F.cross_entropy
    return partial(loss, label_smoothing=config.label_smoothing)


def binary_cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """The mean over images and classes of the binary cross entropy of each class against all others.

    As in "ResNet strikes back" (Wightman et al., 2021), with the classes' probabilities as targets.

    Args:
        logits: (N, K).
        targets: classes (N,), or probabilities (N, K).
        label_smoothing: the fraction of a target's probability that is spread over all classes.
    """
    classes = logits.shape[1]
    wanted = targets if targets.is_floating_point() else F.one_hot(targets, classes)
    smooth = wanted.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / classes
    return F.binary_cross_entropy_with_logits(logits, smooth)


def mixed(
    images: Tensor, labels: Tensor, config: RunConfig, classes: int, step: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """A batch mixed by mixup (Zhang et al., 2018) or CutMix (Yun et al., 2019), by one of both at random.

    Each image is mixed with the one before it. What is drawn depends on the seed and the step alone, so that a resumed
    run draws the same.

    Args:
        images: (N, C, H, W).
        labels: (N,).
        config: of the run; without `mixup` and `cutmix` the batch is returned as it is.
        classes: number of classes, K.
        step: (epoch, number of the batch in it).

    Returns:
        images, and labels (N,) if they are not mixed, else the probabilities of the classes (N, K).
    """
    strengths = {"MixUp": config.mixup, "CutMix": config.cutmix}
    chosen = [name for name, alpha in strengths.items() if alpha]
    if not chosen:
        return images, labels
    with optional():
        from torchvision.transforms import v2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(config.seed, *step, "mixing").initial_seed())
        name = chosen[int(torch.randint(len(chosen), ()))]
        images, targets = getattr(v2, name)(alpha=strengths[name], num_classes=classes)(images, labels)
    return images, targets
