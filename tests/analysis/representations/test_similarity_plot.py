"""The plot shows the matrix, model_a along y, and lines where the border layers are."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from dynpool.analysis.representations.similarity_plot import plot_similarity
from tests.analysis.representations.similarity_reports import cka_report


def panel(figure) -> Axes:
    figure.canvas.draw()
    return figure.axes[0]


def test_cells_labels_and_numbers():
    axes = panel(cka_report(((0.9, 0.5, 0.1), (0.25, math.nan, 0.75)), layers_b=("x", "y", "z")).plot())
    shown: Any = axes.images[0].get_array()
    assert shown[0].tolist() == [0.9, 0.5, 0.1]
    assert shown.mask.tolist() == [[False, False, False], [False, True, False]]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["conv1", "conv2"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x", "y", "z"]
    assert [t.get_text() for t in axes.texts] == ["0.90", "0.50", "0.10", "0.25", "–", "0.75"]
    assert not axes.lines


def test_lines_are_in_front_of_the_border_layers():
    axes = panel(cka_report(border_a=1, border_b=0).plot())
    horizontal, vertical = axes.lines
    assert np.asarray(horizontal.get_ydata()).tolist() == [0.5, 0.5]
    assert np.asarray(vertical.get_xdata()).tolist() == [-0.5, -0.5]
    assert len(axes.figure.legends) == 1
    assert len(panel(cka_report(border_b=1).plot()).lines) == 1


@pytest.mark.parametrize("count", [12, 60])
def test_labels_do_not_overlap(count):
    names = [f"layer{k // 9}.{k % 9}.conv1" for k in range(count)]
    axes = panel(plot_similarity(names, names, [[0.5] * count] * count, (None, None), ("Net", "Net")))
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert (len(axes.texts) > 0) == (count <= 12)
