"""The plot of pairs shows what their table says."""

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D

from dynpool.analysis.comparison.paired_tests import PairedTest
from dynpool.analysis.comparison.pairs import PairRow
from dynpool.analysis.comparison.plots.pairs import STYLES, plot_pairs


def _pair(test: PairedTest | None, p: float | None = 0.5, p_equivalence: float | None = 0.5) -> PairRow:
    return PairRow(
        group="a", baseline="b", test=test, p_corrected=p, p_equivalence_corrected=p_equivalence, margin=0.01,
        detectable=0.02, gmacs_ratio=1.0,
    )  # fmt: skip


def _x(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_xdata())]


PAIRS = {
    "a against b": _pair(PairedTest(5, 0.03, 0.01, 0.02, 0.04, 3.0, 0.01, 0.9), 0.01),
    "c": _pair(PairedTest(5, -0.03, 0.01, -0.04, -0.02, 3.0, 0.01, 0.9), 0.01),
    "no seed in common": _pair(None, None, None),
    "_d$ against e": _pair(PairedTest(5, 0.001, 0.01, -0.002, 0.004, 0.1, 0.9, 0.01), 0.9, 0.01),
    "one seed": _pair(PairedTest(1, 0.012, None), None, None),
}


def test_a_line_per_pair_with_its_interval_and_verdict() -> None:
    figure = plot_pairs(PAIRS, "accuracy")
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert [label.lstrip("\u200a") for label in labels] == ["a\nagainst b", "c", r"_d\$" + "\nagainst e", "one seed"]
    points = [line for line in axes.lines if line.get_marker() not in ("None", None)]
    verdicts = ["better", "worse", "equivalent", "not decided"]
    assert [line.get_marker() for line in points] == [STYLES[verdict][0] for verdict in verdicts]
    for line, mean in zip(points, (3, -3, 0.1, 1.2), strict=True):
        assert abs(_x(line)[0] - mean) < 1e-9
    assert points[3].get_markerfacecolor() == "white"
    intervals = [_x(line) for line in axes.lines if line.get_linewidth() == 2.4]
    assert intervals == [[2.0, 4.0], [-4.0, -2.0], [-0.2, 0.4]], "none of a single seed"
    assert axes.get_xlabel() == "difference in accuracy (points) and 95 % interval"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*verdicts, "within ±1 point"]


def test_margins_are_shaded() -> None:
    axes = plot_pairs(PAIRS, "accuracy").axes[0]
    bands = [band for band in axes.collections if isinstance(band, PolyCollection)]
    ends = [band.get_paths()[0].get_extents() for band in bands]
    assert [(end.x0, end.x1) for end in ends] == [(-1.0, 1.0)] * 4
    assert all(np.allclose(band.get_facecolor(), to_rgba("#eeeeee")) for band in bands)
