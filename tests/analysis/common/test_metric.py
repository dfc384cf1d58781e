"""A run is judged by mIoU where its figures have it, else by accuracy."""

from dynpool.analysis.common.metric import ACCURACY, MIOU, metric_of


def test_the_metric_of_figures():
    assert metric_of({"test_accuracy": 0.5}) is ACCURACY
    assert metric_of({"test_accuracy": 0.5, "test_miou": None}) is ACCURACY
    assert metric_of({"test_accuracy": 0.5, "test_miou": 0.0}) is MIOU
    assert (ACCURACY.test, MIOU.test) == ("test_accuracy", "test_miou")
