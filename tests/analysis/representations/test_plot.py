"""The figures show the rows."""

from typing import Any

import pytest
from matplotlib.text import Text

from dynpool.analysis.common.style import to_png
from dynpool.analysis.representations import HeatMap, plot_side_by_side
from dynpool.analysis.representations.plot import plot_heatmaps
from tests.analysis.representations.reports import report
from tests.analysis.representations.small import row


def found(**changes):
    rows = (
        row("a", accuracy=0.5, relative=0.5, share=0.2),
        row("b", r_min_in=(5.0, 5.0), r_max_in=(9.0, 9.0), accuracy=0.9, relative=0.95, share=0.6),
        row("c", r_min_in=(12.0, 12.0), accuracy=0.9, relative=0.95, share=0.3),
        row("head", r_min_in=None, accuracy=0.9, relative=0.95, share=0.1),
    )
    return report(*rows, **changes)


def points(panel):
    """All (x, y) that have markers."""
    return {
        (round(float(x), 3), round(float(y), 3))
        for line in panel.lines
        if line.get_marker() in ("o", "s")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def test_panels_show_probes_saturation_and_fields_of_each_layer():
    figure: Any = plot_side_by_side({"one": found()})
    probes, saturation, fields = figure.axes
    assert points(probes) == {(0, 50), (1, 90), (2, 90), (3, 90)}
    assert points(saturation) == {(0, 20), (1, 60), (2, 30), (3, 10)}
    assert points(fields) == {(0, 3), (1, 7), (2, 14)}
    assert [label.get_text() for label in fields.get_xticklabels()] == ["a", "b", "c", "head"]
    for panel in figure.axes:
        (shade,) = [patch for patch in panel.patches if patch.get_alpha() == 0.22]
        assert shade.get_x() == 1.5
        assert 1.5 in [line.get_xdata()[0] for line in panel.lines if len(set(line.get_xdata())) == 1]
    assert any(list(line.get_ydata()) == [12, 12] for line in fields.lines)
    assert any(list(line.get_ydata()) == [95, 95] for line in probes.lines)


def test_a_column_for_each_report_on_one_scale():
    figure: Any = plot_side_by_side({"human": found(), "dynopool": found(), "refine": found(accuracy=None)})
    assert len(figure.axes) == 9
    assert [axes.get_title() for axes in figure.axes[:3]] == ["human", "dynopool", "refine"]
    for line in range(3):
        assert len({axes.get_ylim() for axes in figure.axes[3 * line : 3 * line + 3]}) == 1


def test_only_what_was_measured_has_a_panel():
    assert len(plot_side_by_side({"": report(row("a", accuracy=None), row("b", accuracy=None))}).axes) == 2
    assert len(plot_side_by_side({"": report(row("a", accuracy=None, share=None))}).axes) == 1


def test_both_axes_are_drawn_where_they_differ():
    (fields,) = plot_side_by_side({"": report(row("a", r_min_in=(5.0, 7.0), accuracy=None, share=None))}).axes
    assert {y for _, y in points(fields)} == {7, 9}


def test_headline_of_a_single_report():
    figure: Any = found().plot()["layers"]
    said = figure.legends[0].get_title().get_text()
    assert said.replace("\n", " ").lower() == found().verdict.lower()
    assert max(map(len, said.split("\n"))) < 95


def test_many_layers_get_fewer_names():
    rows = [row(f"layer{i}") for i in range(120)]
    labels = plot_side_by_side({"": report(*rows)}).axes[-1].get_xticklabels()
    assert 20 < len(labels) < 50


def test_heat_maps_share_their_colours():
    maps = [HeatMap(name, (2, 2), ((0.5, low), (0.75, 1.0)), 4) for name, low in (("a", 0.5), ("b", 0.25))]
    figure: Any = plot_heatmaps(maps)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert [image.get_clim() for image in images] == [(25, 100)] * 2
    assert images[1].get_array().tolist() == [[50, 25], [75, 100]]
    assert to_png(figure) == to_png(plot_heatmaps(maps))


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="reports is empty"):
        plot_side_by_side({})
    with pytest.raises(ValueError, match="maps is empty"):
        plot_heatmaps([])


def test_seeds_of_a_column_are_thin_and_their_mean_is_thick():
    other = report(
        row("a", accuracy=0.7, relative=0.7, share=0.4),
        row("b", r_min_in=(12.0, 12.0), accuracy=0.9, relative=0.95, share=0.6),
        row("c", r_min_in=(12.0, 12.0), accuracy=0.9, relative=0.95, share=0.3),
        row("head", r_min_in=None, accuracy=0.9, relative=0.95, share=0.1),
    )
    figure: Any = plot_side_by_side({"human": [found(), other], "refine": found()})
    probes, saturation = figure.axes[0], figure.axes[2]
    assert {(0, 60), (1, 90), (2, 90), (3, 90)} <= points(probes)
    assert {(0, 30), (1, 60), (2, 30), (3, 10)} == points(saturation)
    thin = [list(line.get_ydata()) for line in probes.lines if line.get_linewidth() == 0.8]
    assert thin == [[50, 90, 90, 90], [70, 90, 90, 90]]
    shades = sorted((patch.get_x(), round(patch.get_alpha(), 3)) for patch in probes.patches)
    assert shades == [(0.5, 0.11), (1.5, 0.22)]  # unproductive in one of two, and in both
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"probe ± deviation", "one seed"} <= set(labels)
    to_png(figure)


def test_a_green_line_is_where_the_saturation_stays_low():
    figure: Any = plot_side_by_side({"": found()})
    lines = [line for line in figure.axes[1].lines if len(set(line.get_xdata())) == 1]
    assert 1.5 in [line.get_xdata()[0] for line in lines if line.get_color() == "#009E73"]  # from c on
    assert "saturation stays low" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_verdict_is_a_headline_only_where_it_is_wanted():
    one: Any = plot_side_by_side({"": found()})
    none: Any = plot_side_by_side({"": found()}, headline=False)
    said = [" ".join(text.get_text() for text in figure.findobj(Text)) for figure in (one, none)]
    assert ["predicts" in words for words in said] == [True, False]


def test_networks_of_a_column_have_the_same_layers():
    with pytest.raises(ValueError, match=r"reports\['x'\]: expected one network or more, with the same layers"):
        plot_side_by_side({"x": [found(), report(row("a"))]})
    with pytest.raises(ValueError, match=r"reports\['x'\]"):
        plot_side_by_side({"x": []})
