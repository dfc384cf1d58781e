"""The report of `pruning_curve`: a table, plain data, a plot, files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..common.text_table import aligned
from .pruning_plot import plot_pruning
from .report_files import write_files

__all__ = ["PruningReport", "PruningRow"]


@dataclass(frozen=True)
class PruningRow:
    """A model at one amount of pruning.

    Attributes:
        amount: share of the weights of convolutions and linear layers that was to be removed.
        kept: weights that are left.
        weights: weights before.
        sparsity: {layer: share of its weights that was removed}, in the order of the modules.
        score: without fine-tuning.
        score_after: after fine-tuning with the masks kept; None without fine-tuning.
    """

    amount: float
    kept: int
    weights: int
    sparsity: Mapping[str, float]
    score: float
    score_after: float | None

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return {
            "amount": self.amount,
            "kept": self.kept,
            "weights": self.weights,
            "score": self.score,
            "score_after": self.score_after,
            "sparsity": dict(self.sparsity),
        }


@dataclass(frozen=True)
class PruningReport:
    """The result of `pruning_curve`. `str()` prints a table, `to_dict()` gives plain data, `plot()` draws it.

    Attributes:
        model: the model's class.
        dense: score of the whole model.
        rows: one per amount, in rising order.
        notices: what a reader should know of these values.
    """

    model: str
    dense: float
    rows: tuple[PruningRow, ...]
    notices: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data; a score that is not finite stays so."""
        return {
            "model": self.model,
            "dense": self.dense,
            "rows": [row.to_dict() for row in self.rows],
            "notices": list(self.notices),
        }

    def __str__(self) -> str:
        head = ("amount", "kept", "score", "fine-tuned", "least pruned layer", "most pruned layer")
        cells: list[tuple[str, ...]] = [(f"{0:g}", f"{self.rows[0].weights}", f"{self.dense:.4g}", "", "", "")]
        for row in self.rows:
            order = sorted(row.sparsity, key=row.sparsity.__getitem__)
            ends = [f"{name} {100 * row.sparsity[name]:.1f} %" for name in (order[0], order[-1])]
            after = "-" if row.score_after is None else f"{row.score_after:.4g}"
            cells.append((f"{row.amount:g}", f"{row.kept}", f"{row.score:.4g}", after, *ends))
        lines = aligned([head, *cells], left={4, 5})
        lines.append(f"{self.model}: global magnitude pruning of convolutions and linear layers")
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def plot(self, *, score: str = "score") -> Figure:
        """Two panels: the score against the amount, before and after fine-tuning, and the sparsity of each layer.

        Args:
            score: what `evaluate` measured, for the axis.
        """
        return plot_pruning(
            [row.amount for row in self.rows],
            self.dense,
            [row.score for row in self.rows],
            [row.score_after for row in self.rows],
            [row.sparsity for row in self.rows],
            score=score,
        )

    def write(self, folder: str | os.PathLike[str], *, score: str = "score") -> list[Path]:
        """Write pruning.json, pruning.csv (one line per amount) and pruning.png to a folder, and return their paths.

        Args:
            folder: created if it does not exist.
            score: what `evaluate` measured, for the axis.

        Raises:
            OSError: if it cannot be written.
        """
        layers = list(self.rows[0].sparsity)
        table: list[list[object]] = [["amount", "kept", "weights", "score", "score_after", *layers]]
        for row in self.rows:
            shares = [row.sparsity[name] for name in layers]
            table.append([row.amount, row.kept, row.weights, row.score, row.score_after, *shares])
        return write_files(folder, "pruning", self.to_dict(), table, self.plot(score=score))
