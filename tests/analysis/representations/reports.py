"""Reports of given rows."""

from typing import Any

from dynpool.analysis.representations import InspectionReport
from dynpool.analysis.representations.tail import find_border, find_tail

__all__ = ["report"]


def report(*rows, input_size=(1, 12, 12), accuracy=0.95, **changes):
    """A report of these rows at 12 pixels, of a model with 95 % accuracy."""
    values: dict[str, Any] = {
        "model": "Net",
        "input_size": input_size,
        "train_images": 1000,
        "test_images": 400,
        "probe_images": 1000,
        "accuracy": accuracy,
        "threshold": 0.99,
        "rows": rows,
        "tail": find_tail(rows),
        "border": find_border(rows, input_size[1:]),
    }
    return InspectionReport(**(values | changes))
