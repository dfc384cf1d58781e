"""The report of `size_sensitivity`: a table, plain data, a plot, files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynpool.common.extras import optional

from ..common.atomic_files import write_whole
from ..common.json_text import strict_json
from ..common.statistics import MeanStd, plural
from .row import SensitivityRow, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SensitivityReport"]


@dataclass(frozen=True)
class SensitivityReport:
    """The result of `size_sensitivity`. `str()` prints a table, `to_dict()` gives plain data, `plot()` draws it.

    Attributes:
        model: the model's class.
        input_size: (C, H, W) of the inputs in pixels.
        batches: number of batches.
        images: number of images in all of them.
        training: whether it was measured in training mode.
        passes: forward passes that it took.
        loss: at the current sizes, over the batches.
        steps: pixels more that were asked for, in rising order.
        rows: one per learned resolution and axis, from input to output.
    """

    model: str
    input_size: tuple[int, ...]
    batches: int
    images: int
    training: bool
    passes: int
    loss: MeanStd
    steps: tuple[int, ...]
    rows: tuple[SensitivityRow, ...]

    @property
    def verdict(self) -> str:
        """How often the gradient points to the side on which the loss rises less, in one sentence."""
        known = [row for row in self.rows if row.agrees is not None]
        if not known:
            return "there is no pair of a gradient and a difference both ways to compare"
        clear = [row for row in known if row.clear]
        agreeing = sum(row.agrees is True for row in known)
        said = f"the gradient points to the side on which the loss rises less in {agreeing} of {len(known)} directions"
        if not clear:
            return f"{said}; in none do the 95 % intervals of both exclude zero"
        both = sum(row.agrees is True for row in clear)
        return f"{said}, and in {both} of the {len(clear)} in which the 95 % intervals of both exclude zero"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data; a loss that is not finite stays so."""
        return {
            "model": self.model,
            "input_size": list(self.input_size),
            "batches": self.batches,
            "images": self.images,
            "training": self.training,
            "passes": self.passes,
            "loss": plain(self.loss),
            "steps": list(self.steps),
            "verdict": self.verdict,
            "rows": [row.to_dict() for row in self.rows],
        }

    def __str__(self) -> str:
        width = max([len(row.name) for row in self.rows] + [10])
        steps = "".join(f"  {step:>+9d}" for step in self.steps)
        head = f"{'resolution':<{width}}  {'axis':<6}  {'size':>9}{steps}"
        lines = [f"{head}  {'slope':>17}  {'gradient':>9}  {'snr':>5}  agree"]
        for row in self.rows:
            differences = "".join(f"  {_number(row.differences.get(step)):>9}" for step in self.steps)
            slope, error = _number(row.slope), None if row.slope is None else row.slope.error
            slope += "" if error is None else f" ± {error:.1g}"
            snr = "-" if row.snr is None else f"{row.snr:.2f}"
            agrees = {True: "yes", False: "no", None: "-"}[row.agrees] + " *" * row.clear
            size = "x".join(map(str, row.size))
            lines.append(
                f"{row.name:<{width}}  {row.axis:<6}  {size:>9}{differences}  {slope:>17}  {_number(row.gradient):>9}"
                f"  {snr:>5}  {agrees}"
            )
        for row in self.rows:
            if row.unreachable:
                which = ", ".join(f"{step:+d}" for step in row.unreachable)
                nearest = min(row.unreachable, key=abs)
                lines.append(f"not reachable: {row.name} {row.axis} {which} ({row.unreachable[nearest]})")
        batches = "1 batch" if self.batches == 1 else f"{self.batches} batches"
        mode = "training" if self.training else "eval"
        lines.append(
            f"loss {self.loss.mean:.4g} at the current sizes; columns: its change at that many more pixels; "
            f"{batches}, {plural(self.images, 'image')}, {mode} mode"
        )
        lines.append(self.verdict[0].upper() + self.verdict[1:] + (" (*)" if any(r.clear for r in self.rows) else ""))
        return "\n".join(lines)

    def plot(self) -> Figure:
        """A plot with one panel per resolution: the loss difference against the pixels more, with standard errors.

        An arrow above each panel shows in which direction gradient descent would move the size along each axis, with
        the gradient's signal to noise.
        """
        with optional():
            from .plot import plot_sensitivity
        return plot_sensitivity(self.rows, self.steps, self.batches)

    def write(self, folder: str | os.PathLike[str], *, vector: bool = False) -> list[Path]:
        """Write sensitivity.json and sensitivity.png to a folder, and return their paths.

        Args:
            folder: created if it does not exist.
            vector: write sensitivity.svg, too.

        Raises:
            OSError: if it cannot be written.
        """
        with optional():
            from ..common.style import to_files
        out = Path(folder)
        contents = {"sensitivity.json": strict_json(self.to_dict()).encode()}
        contents |= to_files(self.plot(), "sensitivity", vector=vector)
        out.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            write_whole(out / name, data)
        return [out / name for name in contents]


def _number(found: MeanStd | None) -> str:
    return "-" if found is None else f"{found.mean:+.2g}"
