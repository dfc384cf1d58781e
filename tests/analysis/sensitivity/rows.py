"""Rows with given figures."""

from dynpool.analysis.common.statistics import MeanStd
from dynpool.analysis.sensitivity import SensitivityRow


def estimate(figures: tuple[float, float | None] | None, n: int) -> MeanStd | None:
    return None if figures is None else MeanStd(figures[0], figures[1], n)


def row(name="features.3", axis="height", gradient=(-0.5, 0.5), slope=(-0.2, 0.1), differences=None, n=4, size=(8, 9)):
    differences = {-1: 0.3, 1: 0.1} if differences is None else differences
    return SensitivityRow(
        name=name,
        axis=axis,
        size=size,
        differences={step: MeanStd(mean, 0.02, n) for step, mean in differences.items()},
        unreachable={step: "too small" for step in (-2, -1, 1, 2) if step not in differences},
        gradient=estimate(gradient, n),
        slope=estimate(slope, n),
    )
