"""The plot of pairs shows what their table says."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D

from dynpool.analysis.comparison.paired_tests import PairedTest
from dynpool.analysis.comparison.pairs import PairRow
from dynpool.analysis.comparison.plots.pairs import STYLES, plot_pairs


def _pair(
    test: PairedTest | None, p: float | None = 0.5, p_equivalence: float | None = 0.5, margin: float = 0.01
) -> PairRow:
    detectable = None if test is None or test.n < 2 else 0.02
    return PairRow(
        group="a", baseline="b", test=test, p_corrected=p, p_equivalence_corrected=p_equivalence, margin=margin,
        detectable=detectable, gmacs_ratio=1.0,
    )  # fmt: skip


def _x(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_xdata())]


def _y(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata())]


PAIRS = {
    "a against b": _pair(PairedTest(5, 0.03, 0.01, 0.02, 0.04, 3.0, 0.01, 0.9), 0.01),
    "c": _pair(PairedTest(5, -0.03, 0.01, -0.04, -0.02, 3.0, 0.01, 0.9), 0.01, margin=0.02),
    "no seed in common": _pair(None, None, None),
    "_d$ against e": _pair(PairedTest(5, 0.001, 0.01, -0.002, 0.004, 0.1, 0.9, 0.01), 0.9, 0.01),
    "undecided": _pair(PairedTest(5, 0.005, 0.01, -0.01, 0.02, 0.1, 0.9, 0.9)),
    "one seed": _pair(PairedTest(1, 0.012, None), None, None),
}
VERDICTS = ["better", "worse", "equivalent", "not decided", "not tested"]


def test_a_line_per_pair_with_its_interval_and_verdict() -> None:
    figure = plot_pairs(PAIRS, "accuracy")
    axes = figure.axes[0]
    labels = [text.get_text().lstrip("\u200a") for text in axes.get_yticklabels()]
    assert labels == ["a\nagainst b", "c", r"_d\$" + "\nagainst e", "undecided", "one seed"]
    points = [line for line in axes.lines if line.get_marker() not in ("None", None)]
    assert [line.get_marker() for line in points] == [STYLES[verdict][0] for verdict in VERDICTS]
    assert [line.get_color() for line in axes.lines if line.get_linewidth() == 2.4] == [
        STYLES[verdict][1] for verdict in VERDICTS[:4]
    ]
    assert [_y(line)[0] for line in points] == [0, 1, 2, 3, 4]
    assert np.allclose(np.array([_x(line)[0] for line in points]), [3, -3, 0.1, 0.5, 1.2])
    assert [line.get_markerfacecolor() == "white" for line in points] == [False, False, False, True, True]
    intervals = [line for line in axes.lines if line.get_linewidth() == 2.4]
    ends = np.array([_x(line) for line in intervals])
    assert np.allclose(ends, np.array([[2, 4], [-4, -2], [-0.2, 0.4], [-1, 2]])), "none of one seed"
    assert [_y(line) for line in intervals] == [[0, 0], [1, 1], [2, 2], [3, 3]]
    zero = [line for line in axes.lines if _x(line) == [0, 0]]
    assert len(zero) == 1
    bottom, top = axes.get_ylim()
    assert bottom > top, "the first pair is at the top"
    assert axes.get_xlabel() == "difference in accuracy (points) and 95 % interval"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*VERDICTS, "within ±1 point / ±2 points"]


def test_margins_are_shaded() -> None:
    axes = plot_pairs(PAIRS, "accuracy").axes[0]
    bands = [band for band in axes.collections if isinstance(band, PolyCollection)]
    ends = [band.get_paths()[0].get_extents() for band in bands]
    assert [(end.x0, end.x1) for end in ends] == [(-1, 1), (-2, 2), (-1, 1), (-1, 1), (-1, 1)]
    assert [(end.y0, end.y1) for end in ends] == [(y - 0.5, y + 0.5) for y in range(5)]
    assert all(np.allclose(band.get_facecolor(), to_rgba("#eeeeee")) for band in bands)


def test_long_names_stand_whole_on_several_lines() -> None:
    name = "scaled " + " ".join(f"option{k}=value{k}" for k in range(9))
    (label,) = plot_pairs({f"{name} against human": PAIRS["c"]}, "accuracy").axes[0].get_yticklabels()
    assert label.get_text().split() == [*name.split(), "against", "human"]
    assert max(map(len, label.get_text().splitlines())) <= 50


def test_nothing_to_plot() -> None:
    with pytest.raises(ValueError, match="no pair has a seed in common"):
        plot_pairs({"a": PAIRS["no seed in common"]}, "accuracy")
