"""The report of `hessian_eigenvalues`: text, plain data, a plot, files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..common.statistics import plural
from .hessian_plot import plot_spectra
from .report_files import write_files

__all__ = ["HessianSpectrum"]

WHICH = {"LA": "largest", "LM": "absolutely largest"}


@dataclass(frozen=True)
class HessianSpectrum:
    """The result of `hessian_eigenvalues`. `str()` prints it, `to_dict()` gives plain data, `plot()` draws it.

    Attributes:
        model: the model's class.
        parameters: how many the Hessian is of.
        eigenvalues: from the largest to the smallest; by magnitude if `which` is "LM".
        which: "LA" (largest) or "LM" (largest in magnitude).
        wanted: how many were asked for.
        loss: mean over the images.
        images, batches: how many images, in how many batches, the loss is the mean over.
        products: products of the Hessian with a vector that it took.
        memory: bytes of the vectors that ARPACK kept.
        notices: what a reader should know of these values.
    """

    model: str
    parameters: int
    eigenvalues: tuple[float, ...]
    which: str
    wanted: int
    loss: float
    images: int
    batches: int
    products: int
    memory: int
    notices: tuple[str, ...]

    @property
    def negative(self) -> int:
        """How many of the eigenvalues are below zero."""
        return sum(value < 0 for value in self.eigenvalues)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "model": self.model,
            "parameters": self.parameters,
            "eigenvalues": list(self.eigenvalues),
            "which": self.which,
            "wanted": self.wanted,
            "negative": self.negative,
            "loss": self.loss,
            "images": self.images,
            "batches": self.batches,
            "products": self.products,
            "memory": self.memory,
            "notices": list(self.notices),
        }

    def __str__(self) -> str:
        rows = [self.eigenvalues[k : k + 10] for k in range(0, len(self.eigenvalues), 10)]
        lines = [" ".join(f"{value:>10.4g}" for value in row) for row in rows]
        lines.append(
            f"the {len(self.eigenvalues)} {WHICH[self.which]} eigenvalues of the Hessian of the loss with respect to "
            f"{plural(self.parameters, 'parameter')}; {self.negative} below zero"
        )
        lines.append(
            f"loss {self.loss:.4g}, {plural(self.images, 'image')}, {plural(self.products, 'product')} with a vector"
        )
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def plot(self, label: str = "", **others: HessianSpectrum) -> Figure:
        """The eigenvalues by rank on a logarithmic axis; negative ones by magnitude, as hollow triangles.

        Args:
            label: of this spectrum in the legend, if there are others.
            others: further spectra by label, drawn beside it: `trained.plot("trained", before=initial)`.
        """
        return plot_spectra({label or self.model: self.eigenvalues} | {k: v.eigenvalues for k, v in others.items()})

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write hessian.json, hessian.csv (rank, eigenvalue) and hessian.png to a folder, and return their paths.

        Args:
            folder: created if it does not exist.

        Raises:
            OSError: if it cannot be written.
        """
        table = [("rank", "eigenvalue"), *enumerate(self.eigenvalues, 1)]
        return write_files(folder, "hessian", self.to_dict(), table, self.plot())
