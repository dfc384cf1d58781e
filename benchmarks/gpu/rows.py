"""The rows of a part: written and flushed as they come, so that a part that is killed leaves what it had."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from benchmarks.checkout import environment

__all__ = ["FAILED", "MEASURED", "MISSED", "PASSED", "SKIPPED", "STATES", "Rows", "State", "path_of"]

State = Literal["passed", "missed", "failed", "skipped", "measured"]
PASSED: State = "passed"
MISSED: State = "missed"  # right, but slower than its target
FAILED: State = "failed"  # wrong, or an exception
SKIPPED: State = "skipped"  # cannot be tried here
MEASURED: State = "measured"  # has no target
STATES: tuple[State, ...] = (FAILED, MISSED, PASSED, MEASURED, SKIPPED)


def path_of(out: Path, part: str) -> Path:
    """The file with the rows of a part."""
    return out / f"gpu_{part}.csv"


class Rows:
    """The rows of one part, each written and flushed at once.

    Every row says ``what`` it is about, its ``state``, how much of its target is ``reached`` (1 or more: all of it) and
    a ``note``; then come the part's own columns, and what it ran on.

    Args:
        path: the CSV file, written anew.
        columns: the part's own columns.
        device: "cuda" or "cpu".
    """

    def __init__(self, path: Path, columns: Sequence[str], device: str) -> None:
        self._where = environment(device)
        self._file = path.open("w", newline="")
        names = ["what", "state", "reached", "note", *columns, *self._where]
        self._writer = csv.DictWriter(self._file, names)
        self._writer.writeheader()
        self._file.flush()

    def add(self, what: str, state: State, reached: float | None = None, note: str = "", **figures: Any) -> None:
        """Write one row, and tell it.

        Raises:
            ValueError: a figure has no column.
        """
        row = {"what": what, "state": state, "reached": reached, "note": " ".join(note.split()), **figures}
        self._writer.writerow({name: _short(value) for name, value in row.items()} | self._where)
        self._file.flush()
        print(f"{state}: {what} {row['note']}", flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
