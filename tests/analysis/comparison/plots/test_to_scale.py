"""Names of rows fit beside the drawing, and rows are as high as their texts."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dynpool.analysis.comparison.plots.to_scale import (
    FOOT,
    LEFT,
    least_height,
    name_row,
    note_outline,
    page,
    seeds_text,
    wrapped,
)

POINT = "gmacs_budget=match:dynopool start=designed"


@pytest.mark.parametrize("seeds", [[1], [0, 1, 2], range(9)])
def test_a_long_grid_point_stays_left_of_the_drawing_and_within_its_row(seeds):
    text = wrapped(POINT, seeds_text(seeds) + "\n(4 more not drawn)")
    height = max(0.5 + FOOT, least_height(text))
    figure, axes = page(height)
    name_row(axes, "random", text, (height - FOOT) / 2, "black")
    FigureCanvasAgg(figure).draw()
    for written in axes.texts:
        box = written.get_window_extent().transformed(axes.transData.inverted())
        assert box.x1 <= LEFT, written.get_text()
        assert max(box.y0, box.y1) <= height + 0.02, written.get_text()
    assert text.replace("\n", " ").startswith(POINT)


def test_short_texts_need_no_higher_rows():
    assert least_height("seeds 0, 1, 2") == FOOT
    assert wrapped("", "seed 3") == "seed 3"


def test_seeds_are_counted_once_and_cut_off_behind_three():
    assert seeds_text([4, 4]) == "seed 4"
    assert seeds_text([0, 1]) == "seeds 0, 1"
    assert seeds_text([0, 1, 2, 3]) == "seeds 0, 1, 2 …"


def test_the_outline_is_explained():
    _, axes = page(1.0)
    note_outline(axes, LEFT, 0.5, "the designed size")
    assert [text.get_text() for text in axes.texts] == ["dashed: the designed size"]
    assert len(axes.patches) == 1
