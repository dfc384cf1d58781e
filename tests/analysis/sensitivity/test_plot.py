"""The plot shows the figures of the rows: one panel per resolution, one line per axis, one arrow per gradient."""

import itertools
import math

import pytest

from dynpool.analysis.sensitivity.plot import plot_sensitivity
from tests.analysis.sensitivity.rows import row

STEPS = (-2, -1, 1, 2)


def visible(figure):
    return [panel for panel in figure.axes if panel.get_visible()]


def arrows(panel):
    """x of the tips, in widths of the panel, of all arrows."""
    return [text.xy[0] for text in panel.texts if getattr(text, "arrow_patch", None) is not None]


def test_lines_and_error_bars_are_the_differences():
    rows = [row(differences={-2: 0.5, -1: 0.3, 1: 0.1}), row(axis="width", differences={-1: 0.3, 1: 0.2, 2: 0.25})]
    (panel,) = visible(plot_sensitivity(rows, STEPS, 4))
    height, width = (container[0] for container in panel.containers)
    assert list(height.get_ydata()) == [0.5, 0.3, 0.0, 0.1]
    assert list(width.get_ydata()) == [0.3, 0.0, 0.2, 0.25]
    assert [round(x) for x in width.get_xdata()] == [-1, 0, 1, 2]
    (_, low), (_, high) = panel.containers[0][2][0].get_segments()[0]
    assert (low, high) == pytest.approx((0.49, 0.51))
    assert panel.get_title() == "features.3  8×9"


def test_arrows_point_to_where_gradient_descent_goes():
    rows = [
        row(name="a", gradient=(-0.5, 0.25)), row(name="b", gradient=(0.5, 5.0)), row(name="c", gradient=(0.5, 0.5)),
        row(name="d", gradient=None), row(name="e", gradient=(math.nan, None)),
    ]  # fmt: skip
    tips = [arrows(panel) for panel in visible(plot_sensitivity(rows, STEPS, 4))]
    assert tips == [[1.0], [pytest.approx(0.425)], [0.25], [], []], "enlarged, shrunk with much noise, with some"


@pytest.mark.parametrize(
    ("axes", "size", "labels"),
    [
        (("depth", "height", "width"), (4, 8, 9), ["depth", "height", "width"]),
        (("length",), (9,), ["length"]),
        (("both",), (8, 9), ["height and width"]),
        (("all",), (4, 8, 9), ["all axes"]),
    ],
)
def test_every_axis_has_a_line_and_an_arrow_of_its_own(axes, size, labels):
    """One differs from another in colour, marker and place; the legend names it by the line's colour."""
    rows = [row(axis=axis, size=size, differences={-1: k, 1: 0.1}) for k, axis in enumerate(axes)]
    figure = plot_sensitivity(rows, STEPS, 4)
    (panel,) = visible(figure)
    assert panel.get_title() == f"features.3  {'×'.join(map(str, size))}"
    lines = [container[0] for container in panel.containers]
    assert [line.get_ydata()[0] for line in lines] == list(range(len(axes)))
    looks = [{line.get_color(), line.get_marker(), line.get_xdata()[1]} for line in lines]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(looks, 2))
    heights = [text.xy[1] for text in panel.texts if getattr(text, "arrow_patch", None) is not None]
    assert len(set(heights)) == len(axes)
    (legend,) = figure.legends
    named = {text.get_text(): line for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)}
    by_color = {line.get_color(): text for text, line in named.items() if text in labels}
    assert [by_color[line.get_color()] for line in lines] == labels


@pytest.mark.parametrize("count", [1, 3, 20])
def test_one_panel_per_resolution(count):
    rows = [row(name=f"stages.{k}.conv", axis=axis) for k in range(count) for axis in ("height", "width")]
    figure = plot_sensitivity(rows, STEPS, 1)
    assert len(visible(figure)) == count
    figure.canvas.draw()
    titles = [panel.title.get_window_extent() for panel in visible(figure)]
    assert not any(a.overlaps(b) for a in titles for b in titles if a is not b)


def test_differences_that_dwarf_the_smallest_steps_are_logarithmic():
    even, uneven = visible(
        plot_sensitivity([row(name="a"), row(name="b", differences={-2: 5.0, -1: 0.03, 1: 0.02})], STEPS, 4)
    )
    assert (even.get_yscale(), uneven.get_yscale()) == ("linear", "symlog")
    low, high = uneven.get_ylim()
    assert low < 0 < 5.02 < high


def test_what_is_not_drawn_is_said():
    rows = [row(differences={}), row(axis="width", differences={-1: math.inf, 1: 0.2})]
    (panel,) = visible(plot_sensitivity(rows, STEPS, 4))
    assert any(text.get_text() == "height fixed\nwidth not finite" for text in panel.texts)
