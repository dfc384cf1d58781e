"""What a run learns: to classify images or every pixel of them. A task has its loss, its scores and its figures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynpool.analysis.common.metric import ACCURACY, MIOU, Metric
from dynpool.graph import deep_copy, trace_shapes

from .config import RunConfig
from .errors import ConfigError
from .examples import write_examples
from .segmentation import (
    IGNORED,
    confusion,
    mean_iou,
    pixel_accuracy,
    pixel_cross_entropy,
    scores_at,
    sliding_scores,
)
from .splits import Dataset

__all__ = ["Task", "task_of"]


@dataclass(frozen=True)
class Task(ABC):
    """What a run learns.

    Attributes:
        config: of the run.
        classes: number of classes, K.
    """

    config: RunConfig
    classes: int

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """The figure that runs are judged by."""

    @property
    @abstractmethod
    def counts(self) -> int:
        """How many numbers are summed over images for the figures."""

    @abstractmethod
    def scores(self, output: Any, targets: Tensor) -> Tensor:
        """The scores of a batch, of the size of its targets."""

    @abstractmethod
    def predict(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """The scores of a batch of test images."""

    @abstractmethod
    def share(self, part: Tensor, targets: Tensor) -> Tensor | float:
        """How much the mean loss of a part of a batch counts in that of the batch, by the targets of both."""

    @abstractmethod
    def test_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of test images, a scalar."""

    @abstractmethod
    def count(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The numbers of a batch, (counts,), whose sums over batches decide the figures."""

    @abstractmethod
    def figures(self, counts: Tensor, images: float) -> dict[str, float]:
        """The figures of so many images by their names, the metric among them."""

    @abstractmethod
    def write_examples(self, path: Path, model: nn.Module, dataset: Dataset) -> None:
        """Write what is to be looked at of a trained network, if the task has any."""

    @abstractmethod
    def check(self, model: nn.Module, input_size: tuple[int, ...]) -> None:
        """Raise `ConfigError` if the output of a network does not fit the task."""


class _Classification(Task):
    """One class for each image: logits (N, K), targets (N,) or probabilities (N, K)."""

    metric = ACCURACY
    counts = 1

    def scores(self, output: Any, targets: Tensor) -> Tensor:
        logits: Tensor = output
        return logits

    def predict(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        logits: Tensor = model(images)
        return logits

    def share(self, part: Tensor, targets: Tensor) -> Tensor | float:
        return len(part) / len(targets)

    def test_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(scores, targets)

    def count(self, scores: Tensor, targets: Tensor) -> Tensor:
        wanted = targets if targets.ndim == 1 else targets.argmax(1)
        return (scores.argmax(1) == wanted).sum()[None]

    def figures(self, counts: Tensor, images: float) -> dict[str, float]:
        return {"accuracy": float(counts[0]) / images}

    def write_examples(self, path: Path, model: nn.Module, dataset: Dataset) -> None:
        """Nothing: the figures say all."""

    def check(self, model: nn.Module, input_size: tuple[int, ...]) -> None:
        """Nothing: what a network of any other output does, it says itself."""


class _Segmentation(Task):
    """One class for each pixel: scores (N, K, h, w), masks (N, H, W)."""

    metric = MIOU

    @property
    def counts(self) -> int:
        return self.classes**2

    def scores(self, output: Any, targets: Tensor) -> Tensor:
        return scores_at(output, targets.shape[-2:])

    def predict(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        side = self.config.data.resolution
        if self.config.data.test == "sliding" and images.shape[-2:] != (side, side):
            return sliding_scores(model, images, (side, side))
        return self.scores(model(images), targets)

    def share(self, part: Tensor, targets: Tensor) -> Tensor | float:
        """That of its pixels that count."""
        return (part != IGNORED).sum() / (targets != IGNORED).sum().clamp(min=1)

    def test_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return pixel_cross_entropy(scores, targets)

    def count(self, scores: Tensor, targets: Tensor) -> Tensor:
        return confusion(scores, targets).flatten()

    def figures(self, counts: Tensor, images: float) -> dict[str, float]:
        matrix = counts.view(self.classes, self.classes)
        return {"accuracy": pixel_accuracy(matrix), "miou": mean_iou(matrix)}

    def write_examples(self, path: Path, model: nn.Module, dataset: Dataset) -> None:
        write_examples(path, model, dataset)

    def check(self, model: nn.Module, input_size: tuple[int, ...]) -> None:
        try:
            trace_shapes(model, input_size)
        except ValueError as error:
            raise ConfigError(f"model.name is {self.config.model.name!r}: {error}") from error
        network = deep_copy(model).eval()
        device = next((weight.device for weight in network.parameters()), None)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            output = network(torch.zeros(1, *input_size, device=device))
        scores = output.get("out") if isinstance(output, Mapping) else output
        if not isinstance(scores, Tensor) or scores.ndim != 4 or scores.shape[1] != self.classes:
            raise ConfigError(
                f"model.name is {self.config.model.name!r}, which returns {_described(output)} for an image of "
                f"{_sides(input_size)}; task: segmentation needs scores of 1x{self.classes}xHxW, or a mapping with "
                "these under 'out'"
            )


def _described(output: object) -> str:
    """What a network returns, in words."""
    if isinstance(output, Tensor):
        return _sides(output.shape)
    if isinstance(output, Mapping):
        return f"a mapping ({', '.join(f'{name!r}: {_described(value)}' for name, value in output.items())})"
    return f"a {type(output).__name__}"


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


_TASKS: Mapping[str, Callable[[RunConfig, int], Task]] = {
    "classification": _Classification,
    "segmentation": _Segmentation,
}


def task_of(config: RunConfig, classes: int) -> Task:
    """The task of a run, with so many classes."""
    return _TASKS[config.task](config, classes)
