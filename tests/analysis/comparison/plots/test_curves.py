"""The plots show the figures: points, lines and rectangles are read back from what was drawn."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image
from matplotlib.lines import Line2D

from dynpool.analysis.common.colors import DYNOPOOL, HUMAN
from dynpool.analysis.comparison.plots import (
    draw,
    method_colors,
    plot_alphas,
    plot_i_min,
    plot_metric,
    plot_sizes,
    plot_tradeoff,
    to_png,
)
from dynpool.analysis.comparison.summary import compare_runs
from tests.analysis.comparison.plots.drawn import runs_of, texts

WriteRun = Callable[..., Path]


def _x(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_xdata())]


def _y(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata())]


def _thick(axes_lines: list[Line2D], color: str) -> list[Line2D]:
    return [line for line in axes_lines if line.get_color() == color and line.get_linewidth() > 2]


def test_all_figures_in_order(comparison_folder: Path) -> None:
    figures = compare_runs([comparison_folder]).plot()
    assert list(figures) == ["pairs", "accuracy_vs_gmacs", "sizes", "i_min", "alphas", "accuracy"]
    for figure in figures.values():
        assert figure.get_figwidth() == 9.0


def test_pairs_are_drawn_with_two_seeds_in_common(comparison_folder: Path, tmp_path: Path, write_run: WriteRun) -> None:
    axes = compare_runs([comparison_folder]).plot()["pairs"].axes[0]
    assert axes.get_xlabel() == "difference in test accuracy (points) and 95 % interval"
    for method in ("human", "dynopool"):
        write_run(tmp_path / method, method)
    assert "pairs" not in compare_runs([tmp_path / "human", tmp_path / "dynopool"]).plot()


def test_human_alone_has_no_alphas(tmp_path: Path, write_run: WriteRun) -> None:
    runs = runs_of(write_run(tmp_path / "a", "human"))
    assert "alphas" not in draw(runs)
    with pytest.raises(ValueError, match="no run has learned strides"):
        plot_alphas(runs)


def test_png_is_the_same_each_time_and_leaves_settings_alone(comparison_folder: Path, tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    runs = runs_of(comparison_folder)
    first, second = to_png(plot_sizes(runs), dpi=50), to_png(plot_sizes(runs), dpi=50)
    assert first == second
    assert dict(mpl.rcParams) == before
    (tmp_path / "a.png").write_bytes(first)
    pixels = image.imread(tmp_path / "a.png")
    assert pixels.shape[1] == 450
    assert 0.5 < float(np.mean(pixels[..., :3])) < 1.0, "mostly white, and not empty"


def test_methods_keep_their_colors(tmp_path: Path, write_run: WriteRun) -> None:
    names = ("zebra", "dynopool", "human", "ape")
    colors = method_colors(runs_of(*(write_run(tmp_path / name, name) for name in names)))
    assert colors["human"] == HUMAN
    assert colors["dynopool"] == DYNOPOOL
    assert len(set(colors.values())) == 4


def test_tradeoff_has_a_point_per_run_and_the_mean(comparison_folder: Path) -> None:
    comparison = compare_runs([comparison_folder])
    axes = plot_tradeoff(comparison.runs).axes[0]
    points = {(_x(line)[0], round(_y(line)[0], 6)) for line in axes.lines if line.get_markersize() == 7}
    assert points == {(1e3 * row.gmacs, round(100 * row.accuracy, 6)) for row in comparison.rows}
    means = [line for line in axes.lines if line.get_markersize() >= 10]
    for line, row in zip(means, comparison.methods, strict=True):
        assert np.allclose(line.get_xydata(), [[1e3 * row.gmacs.mean, 100 * row.accuracy.mean]])


def test_unfinished_run_is_drawn_hollow(tmp_path: Path, write_run: WriteRun) -> None:
    runs = runs_of(write_run(tmp_path / "a"), write_run(tmp_path / "b", "human", epochs=3, planned=16))
    figure = plot_tradeoff(runs)
    small = [line for line in figure.axes[0].lines if line.get_markersize() == 7]
    assert sorted(line.get_markerfacecolor() == "none" for line in small) == [False, True]
    assert "unfinished run" in texts(figure)
    assert "seed 0\nunfinished" in texts(plot_sizes(runs))


def test_accuracy_mean_over_shared_epochs(tmp_path: Path, write_run: WriteRun) -> None:
    runs = runs_of(write_run(tmp_path / "a", seed=0), write_run(tmp_path / "b", seed=1, epochs=4, planned=16))
    axes = plot_metric(runs).axes[0]
    (mean,) = _thick(list(axes.lines), DYNOPOOL)
    assert _x(mean) == [0, 1, 2, 3, 4]
    expected = [50 * sum(run.history[epoch].test_accuracy or 0.0 for run in runs) for epoch in range(5)]
    assert np.allclose(_y(mean), expected)


def test_a_later_method_is_drawn_on_top_and_narrower_so_that_coincident_ones_show(
    tmp_path: Path, write_run: WriteRun
) -> None:
    methods = ("dynopool", "fixed", "shape-adaptor")
    runs = runs_of(*(write_run(tmp_path / method, method, final=0.8) for method in methods))
    panels = [plot_metric(runs).axes[0], *plot_i_min(runs).axes, *plot_alphas(runs).axes]
    colors = method_colors(runs)
    for panel in panels:
        drawn = [next(i for i, line in enumerate(panel.lines) if line.get_color() == colors[m]) for m in methods]
        assert drawn == sorted(drawn), "later ones lie on top"
        lines = [panel.lines[index] for index in drawn]
        assert all(_y(line) == _y(lines[0]) for line in lines), "they coincide"
        widths = [line.get_linewidth() for line in lines]
        assert all(below >= above + 1.5 for below, above in pairwise(widths)), widths
    points = [line for line in plot_tradeoff(runs).axes[0].lines if line.get_markersize() >= 10]
    sizes = [line.get_markersize() for line in points]
    assert len(sizes) == 3
    assert all(below >= above + 3 for below, above in pairwise(sizes)), sizes


def test_i_min_against_resolution_and_human(tmp_path: Path, write_run: WriteRun) -> None:
    size = (1, 48, 32)
    runs = runs_of(write_run(tmp_path / "h", "human", input_size=size), write_run(tmp_path / "d", input_size=size))
    for axis, panel in enumerate(plot_i_min(runs).axes):
        (human,), (learned,) = _thick(list(panel.lines), HUMAN), _thick(list(panel.lines), DYNOPOOL)
        assert set(_y(human)) == {61.0}
        assert np.allclose(_y(learned), [row.i_min[axis] for row in runs[1].history])
        levels = [line for line in panel.lines if len(_x(line)) == 2 and set(_y(line)) == {size[1 + axis]}]
        assert len(levels) == 1
        low, high = panel.get_ylim()
        assert low < size[1 + axis] < high, "the input resolution lies inside the picture"


def test_infinite_i_min_is_named_instead_of_drawn(tmp_path: Path, write_run: WriteRun) -> None:
    runs = runs_of(write_run(tmp_path / "h", "human", i_min=math.inf), write_run(tmp_path / "d"))
    figure = plot_i_min(runs)
    assert texts(figure).count("infinite values not drawn: human") == 2
    assert not _thick(list(figure.axes[0].lines), HUMAN)
    to_png(figure, dpi=50)
    to_png(plot_i_min(runs[:1]), dpi=50)


def test_alphas_panel_per_resolution_height_solid_width_dashed(comparison_folder: Path) -> None:
    runs = runs_of(comparison_folder)
    figure = plot_alphas(runs)
    assert [panel.get_title() for panel in figure.axes] == ["features.2", "features.5", "features.8"]
    learned = [run for run in runs if run.method == "dynopool"]
    for name, panel in zip(("features.2", "features.5", "features.8"), figure.axes, strict=True):
        height, width = _thick(list(panel.lines), DYNOPOOL)
        assert (height.get_linestyle(), width.get_linestyle()) == ("-", "--")
        for axis, line in enumerate((height, width)):
            last = _y(line)[-1]
            assert last == pytest.approx(np.mean([run.last.strides[name][axis] for run in learned]))


@pytest.mark.parametrize("axes", [1, 3])
def test_every_axis_has_its_line_of_strides_and_its_panel_of_i_min(comparison_folder: Path, axes: int) -> None:
    names = {1: ["length"], 3: ["depth", "height", "width"]}[axes]
    per_axis = tuple(1.5 + 0.25 * axis for axis in range(axes))
    run = runs_of(comparison_folder)[-1]
    rows = [replace(row, strides={"pool": per_axis}, i_min=per_axis) for row in run.history]
    runs = [replace(run, input_size=(1, *range(8, 8 + axes)), history=tuple(rows))]
    figure = plot_alphas(runs)
    lines = _thick(list(figure.axes[0].lines), DYNOPOOL)
    assert [_y(line)[-1] for line in lines] == list(per_axis)
    assert texts(figure) == names
    panels = plot_i_min(runs).axes
    assert [panel.get_title() for panel in panels] == [f"along the {name}" for name in names]
    assert [_y(_thick(list(panel.lines), DYNOPOOL)[0])[-1] for panel in panels] == list(per_axis)


def test_odd_method_names_are_drawn_literally(tmp_path: Path, write_run: WriteRun) -> None:
    runs = runs_of(write_run(tmp_path / "a", "$x_$y"), write_run(tmp_path / "b", "_hidden"))
    for figure in draw(runs).values():
        to_png(figure, dpi=40)
    labels = texts(plot_metric(runs))
    assert r"\$x_\$y" in labels
    assert any(label.endswith("_hidden") for label in labels)


def test_i_min_that_leaves_layers_out_is_dotted_and_starred(tmp_path: Path, write_run: WriteRun) -> None:
    human = write_run(tmp_path / "h", "human")
    figure = plot_i_min(runs_of(human, write_run(tmp_path / "d", "diffstride", i_min=3, behind_global=4)))
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["human", "diffstride *"]
    solid, dotted = (line.get_linestyle() for line in figure.axes[0].lines[:2])
    assert (solid, dotted) == ("-", "--")  # how matplotlib calls any pattern of dashes
    assert not any("*" in text for text in texts(plot_i_min(runs_of(human))))


def test_costs_far_apart_get_a_logarithmic_axis_with_plain_numbers(tmp_path: Path, write_run: WriteRun) -> None:
    small = write_run(tmp_path / "s", "human", input_size=(1, 8, 8))
    axes = plot_tradeoff(runs_of(small, write_run(tmp_path / "l", input_size=(1, 96, 96)))).axes[0]
    assert axes.get_xscale() == "log"
    low, high = axes.get_xlim()
    shown = [
        label.get_text() for x, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True) if low < x < high
    ]
    assert axes.get_xlabel().startswith("MMACs")
    assert "1" in shown
    assert all(float(text) > 0 for text in shown)
    assert len(shown) >= 4
