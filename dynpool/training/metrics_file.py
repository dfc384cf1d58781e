"""The metrics.csv of a run: its columns and its text."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dynpool.analysis.common.axis_names import along_axes, count_of_axes
from dynpool.analysis.common.checksums import CHECKSUM, with_checksum

__all__ = ["COLUMNS", "FIELDS", "SEGMENTATION_COLUMNS", "cell_text", "columns_of", "field_columns", "table_text"]

FIELDS = ("i_min", "i_max", "i_max_local")  # with a column for each axis


def field_columns(axes: int) -> tuple[str, ...]:
    """The columns of receptive fields of data with so many axes."""
    return tuple(column for name in FIELDS for column in along_axes(name, axes))


COLUMNS = (
    "epoch", "train_loss", "task_loss", "gmacs_loss", "train_accuracy", "test_loss", "test_accuracy", "gmacs", "sizes",
    "alphas", "strides", "kernels", "kernel_maps", *field_columns(2), "unproductive", "behind_global", "lr",
    "alpha_lr", "kernel_lr", "parameters", "seconds", "images_per_second", "peak_memory", "latency_ms", "predicted_ms",
)  # fmt: skip
"""Columns of metrics.csv. Accuracies are fractions; train_loss = task_loss + gmacs_loss, where gmacs_loss is the term
that the method adds; peak_memory is the highest so far, in bytes; latency_ms is that of a pass as measured after the
epoch; missing figures are empty. Runs of segmentation, whose accuracies are of pixels, have `SEGMENTATION_COLUMNS` as
well. Receptive fields of sequences and volumes have the columns of their axes, see `field_columns`."""

SEGMENTATION_COLUMNS = ("train_miou", "test_miou")


def columns_of(row: Mapping[str, Any]) -> list[str]:
    """The columns of metrics.csv of a run with such rows."""
    axes = count_of_axes("i_min", row) or 2
    first = COLUMNS.index(field_columns(2)[0])
    fields = COLUMNS[:first] + field_columns(axes) + COLUMNS[first + len(field_columns(2)) :]
    return [*fields, *(column for column in SEGMENTATION_COLUMNS if column in row)]


def table_text(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as CSV, each with its checksum."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*rows[0], CHECKSUM], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(with_checksum, rows))
    return text.getvalue()


def cell_text(value: Any) -> str:
    """A value as CSV text: repr of floats, to be exact, JSON of mappings, empty for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value)
