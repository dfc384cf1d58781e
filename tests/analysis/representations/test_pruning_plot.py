"""The plot shows the scores against the amount, and one line per amount along the layers."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dynpool.analysis.representations.pruning_plot import plot_pruning, plot_pruning_over_seeds

SPARSITY = [{"conv": 0.25, "fc": 0.75}, {"conv": 0.85, "fc": 1.0}]


def test_scores_and_sparsities():
    figure = plot_pruning([0.5, 0.9], 0.96, [0.9, 0.1], [0.95, 0.8], SPARSITY, score="accuracy")
    figure.canvas.draw()
    left, right = figure.axes
    shown: Any = right
    assert [np.asarray(line.get_ydata()).tolist() for line in left.lines] == [[0.96, 0.96], [0.9, 0.1], [0.95, 0.8]]
    assert np.asarray(left.lines[1].get_xdata()).tolist() == [0.5, 0.9]
    assert left.get_ylabel() == "accuracy"
    assert [np.asarray(line.get_ydata()).tolist() for line in right.lines] == [[0.25, 0.75], [0.85, 1.0]]
    assert [t.get_text() for t in right.get_xticklabels()] == ["conv", "fc"]
    assert [t.get_text() for t in shown.get_legend().get_texts()] == ["90 %", "50 %"]


def test_without_fine_tuning_there_is_one_curve_and_many_layers_are_labelled_in_part():
    names = [f"layer{k // 9}.{k % 9}.conv1" for k in range(70)]
    figure = plot_pruning([0.5], 0.9, [0.4], [None], [dict.fromkeys(names, 0.5)], score="score")
    figure.canvas.draw()
    left, right = figure.axes
    assert len(left.lines) == 2
    boxes = [label.get_window_extent() for label in right.get_xticklabels()]
    assert 20 <= len(boxes) <= 30
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_mean_and_deviation_over_the_seeds_of_each_design():
    curves: dict[str, Any] = {
        "human": [[(0.0, 0.9, 0.9), (0.5, 0.6, 0.8)], [(0.0, 0.7, 0.7), (0.5, 0.2, 0.6)]],
        "refine": [[(0.0, 0.5, 0.5), (0.5, 0.5, None)]],
    }
    figure: Any = plot_pruning_over_seeds(curves, score="accuracy")
    figure.canvas.draw()
    before, after = figure.axes
    means, tuned = (
        [[round(float(y), 6) for y in line.get_ydata()] for line in panel.lines if line.get_marker() in ("o", "s")]
        for panel in (before, after)
    )
    assert means == [[0.8, 0.4], [0.5, 0.5]]
    assert tuned == [[0.8, 0.7], [0.5]]
    bars = [np.asarray(path.vertices)[:, 1] for path in before.collections[0].get_paths()]
    assert bars[1].tolist() == pytest.approx([0.4 - np.std([0.6, 0.2], ddof=1), 0.4 + np.std([0.6, 0.2], ddof=1)])
    assert [text.get_text() for text in figure.legends[0].get_texts()][-2:] == ["human", "refine"]


def test_without_fine_tuning_there_is_one_panel():
    assert len(plot_pruning_over_seeds({"x": [[(0.0, 0.9, None), (0.5, 0.6, None)]]}, score="accuracy").axes) == 1
