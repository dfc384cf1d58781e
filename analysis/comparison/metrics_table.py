"""Reads the metrics.csv of a run: one typed row per epoch, with errors that name line and column."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dynpool.size_math import AXES, PerAxis, Size

from ..common.axis_names import along_axes, count_of_axes
from ..common.checksums import CHECKSUM, is_intact
from ..common.metric import Metric, metric_of

__all__ = ["Epoch", "read_metrics", "read_rows", "read_text"]

REQUIRED_COLUMNS = ("epoch", "test_accuracy", "gmacs", "sizes")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One row of a run's metrics.csv. Row 0 is the state before training. A figure that the run did not write is None.

    Accuracies are fractions, in segmentation of pixels; `test_miou` is the mean IoU of segmentation. Sizes and
    receptive fields are (height, width) in pixels, (length,) of sequences and (depth, height, width) of volumes;
    `peak_memory` is in bytes and `latency_ms` that of one pass, as measured after the epoch. `strides` are the strides
    that the alphas give, in input pixels per output pixel. `kernels` are the sizes of learned kernels and `kernel_maps`
    those of the maps that they slide over, by layer. `behind_global` is the number of convolutions behind a global
    operation, which neither `i_min` nor `unproductive` counts.
    """

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    test_miou: float | None
    gmacs: float
    sizes: Mapping[str, Size]
    alphas: Mapping[str, PerAxis]
    strides: Mapping[str, PerAxis]
    kernels: Mapping[str, Size]
    kernel_maps: Mapping[str, Size]
    i_min: PerAxis
    i_max: PerAxis | None
    i_max_local: PerAxis | None
    unproductive: int | None
    behind_global: int | None
    parameters: int | None
    seconds: float | None
    peak_memory: int | None
    latency_ms: float | None

    @property
    def metric(self) -> Metric:
        """The figure that the run is judged by."""
        return metric_of({"test_miou": self.test_miou})

    @property
    def score(self) -> float | None:
        """The metric on test images."""
        value: float | None = getattr(self, self.metric.test)
        return value


def read_text(folder: Path, name: str) -> str:
    """The text of a file of a run folder.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it cannot be read as UTF-8.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: incomplete run folder: {name} is missing")
    try:
        # newline="" keeps line ends: a last row without one may be incomplete.
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ValueError(f"{folder}: {name} is damaged: it is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{folder}: {name} cannot be read: {error.strerror or error}") from None


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv as text, each checked. Raises the errors of `read_run`."""
    return [row.cells for row, _ in _checked_rows(folder, [])]


def read_metrics(folder: Path, notes: list[str]) -> tuple[list[Epoch], bool]:
    """The rows by epoch, and whether all of them have checksums."""
    rows: dict[int, Epoch] = {}
    verified = True
    for row, epoch in _checked_rows(folder, notes):
        if epoch.epoch in rows:
            notes.append(f"metrics.csv has several rows for epoch {epoch.epoch}: the last counts")
        rows[epoch.epoch] = epoch
        verified &= CHECKSUM in row.cells
    return [rows[epoch] for epoch in sorted(rows)], verified


def _checked_rows(folder: Path, notes: list[str]) -> Iterator[tuple[_Row, Epoch]]:
    text = read_text(folder, "metrics.csv")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines.pop()
        if lines:
            notes.append(f"metrics.csv line {len(lines) + 1} has no newline (perhaps still being written): skipped")
    if not lines:
        raise ValueError(f"{folder}: metrics.csv is empty")
    header = _cells(lines[0]) or []
    axes = count_of_axes("i_min", header)
    missing = [column for column in REQUIRED_COLUMNS if column not in header]
    missing += [] if axes is not None else [name for name in along_axes("i_min", 2) if name not in header]
    if missing or axes is None:
        raise ValueError(f"{folder}: metrics.csv is not that of a run: missing columns {', '.join(missing)}")
    for number, line in enumerate(lines[1:], start=2):
        cells = _cells(line)
        if cells is None or len(cells) != len(header):
            if number == len(lines):
                notes.append(f"metrics.csv line {number} is truncated: skipped")
                break
            count = "an unclosed quote" if cells is None else f"{len(cells)} cells"
            raise ValueError(f"{folder}: metrics.csv line {number} is damaged: {count}, expected {len(header)} cells")
        named = dict(zip(header, cells, strict=True))
        if is_intact(named) is False:
            raise ValueError(
                f"{folder}: metrics.csv line {number} is damaged: it does not match its checksum; "
                "train the run with --resume to restore it from its checkpoint"
            )
        row = _Row(folder, number, named, axes)
        yield row, row.epoch()


def _cells(line: str) -> list[str] | None:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None


@dataclass(frozen=True)
class _Row:
    """One line of metrics.csv, with the errors that name its place."""

    folder: Path
    line: int
    cells: dict[str, str]
    axes: int

    def fail(self, column: str, wanted: str) -> ValueError:
        value = self.cells[column]
        shown = value if len(value) <= 60 else value[:57] + "..."
        return ValueError(f"{self.folder}: metrics.csv line {self.line}: {column} is {shown!r}, must be {wanted}")

    def optional(self, column: str) -> float | None:
        text = self.cells.get(column, "").strip()
        if not text:
            return None
        try:
            return float(text)
        except ValueError:
            raise self.fail(column, "a number") from None

    def along_axes(self, name: str) -> PerAxis | None:
        found = [self.optional(column) for column in along_axes(name, self.axes)]
        known = tuple(value for value in found if value is not None)
        return known if len(known) == self.axes else None

    def number(self, column: str) -> float:
        value = self.optional(column)
        if value is None:
            raise self.fail(column, "a number")
        return value

    def fraction(self, column: str, *, required: bool) -> float | None:
        value = self.number(column) if required else self.optional(column)
        if value is not None and not 0.0 <= value <= 1.0:
            raise self.fail(column, "a fraction from 0 to 1")
        return value

    def count(self, column: str) -> int | None:
        value = self.optional(column)
        if value is None:
            return None
        if not math.isfinite(value) or value != int(value) or value < 0:
            raise self.fail(column, "a whole number of at least 0")
        return int(value)

    @property
    def _lists(self) -> str:
        """What the values of a mapping of sizes are."""
        return f"[{', '.join(AXES[self.axes])}] {'pairs' if self.axes == 2 else 'lists'}"

    def per_axis(self, column: str) -> dict[str, PerAxis]:
        text = self.cells.get(column, "").strip()
        if not text:
            return {}
        wanted = f"a JSON object of {self._lists}"
        try:
            data = json.loads(text)
        except ValueError:
            raise self.fail(column, wanted) from None
        if not isinstance(data, dict):
            raise self.fail(column, wanted)
        result: dict[str, PerAxis] = {}
        for name, values in data.items():
            if not (isinstance(values, list) and len(values) == self.axes and all(map(_is_number, values))):
                raise self.fail(column, wanted)
            result[str(name)] = tuple(map(float, values))
        return result

    def sizes(self, column: str = "sizes", *, required: bool = True) -> dict[str, Size]:
        found = self.per_axis(column)
        whole = all(math.isfinite(x) and x >= 1 and x == int(x) for values in found.values() for x in values)
        if not whole or (required and not found):
            raise self.fail(column, f"a JSON object of whole, positive {self._lists}")
        return {name: tuple(map(int, values)) for name, values in found.items()}

    def epoch(self) -> Epoch:
        epoch = self.count("epoch")
        if epoch is None:
            raise self.fail("epoch", "a whole number of at least 0")
        accuracy = self.fraction("test_accuracy", required=epoch > 0)
        return Epoch(
            epoch=epoch,
            train_loss=self.optional("train_loss"),
            train_accuracy=self.optional("train_accuracy"),
            test_loss=self.optional("test_loss"),
            test_accuracy=accuracy,
            test_miou=self.fraction("test_miou", required=epoch > 0 and "test_miou" in self.cells),
            gmacs=self.number("gmacs"),
            sizes=self.sizes(),
            alphas=self.per_axis("alphas"),
            strides=self.per_axis("strides"),
            kernels=self.sizes("kernels", required=False),
            kernel_maps=self.sizes("kernel_maps", required=False),
            i_min=tuple(map(self.number, along_axes("i_min", self.axes))),
            i_max=self.along_axes("i_max"),
            i_max_local=self.along_axes("i_max_local"),
            unproductive=self.count("unproductive"),
            behind_global=self.count("behind_global"),
            parameters=self.count("parameters"),
            seconds=self.optional("seconds"),
            peak_memory=self.count("peak_memory"),
            latency_ms=self.optional("latency_ms"),
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
