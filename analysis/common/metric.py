"""The figure that runs are judged by: accuracy of classification, mean IoU of segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ACCURACY", "MIOU", "Metric", "metric_of"]


@dataclass(frozen=True)
class Metric:
    """A figure from 0 to 1 by which runs are judged, the higher the better.

    Attributes:
        key: in the columns train_KEY and test_KEY of metrics.csv, and in the names of files.
        name: in texts.
        title: at the start of a text.
        plural: several of it.
    """

    key: str
    name: str
    title: str
    plural: str

    @property
    def test(self) -> str:
        """The column of metrics.csv."""
        return f"test_{self.key}"


ACCURACY = Metric("accuracy", "accuracy", "Accuracy", "accuracies")
MIOU = Metric("miou", "mIoU", "mIoU", "mean IoUs")


def metric_of(figures: Mapping[str, object]) -> Metric:
    """The metric of a run, by the figures of an epoch or of its end: mIoU where they have it, else accuracy."""
    return ACCURACY if figures.get(MIOU.test) is None else MIOU
