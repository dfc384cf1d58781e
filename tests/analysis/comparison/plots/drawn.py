"""What the tests of plots draw and read back."""

from pathlib import Path

from matplotlib.figure import Figure

from dynpool.analysis.comparison.read_runs import Run
from dynpool.analysis.comparison.summary import compare_runs


def runs_of(*folders: Path) -> tuple[Run, ...]:
    return compare_runs(folders).runs


def texts(figure: Figure) -> list[str]:
    """The texts in the axes, then those in the legends."""
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return found + [text.get_text() for legend in figure.legends for text in legend.get_texts()]
