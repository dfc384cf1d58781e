"""Pictures of segmentation: every group has a row of predictions, and fields stand where they belong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from dynpool.analysis.comparison.examples import Examples
from dynpool.analysis.comparison.plots import plot_objects, plot_predictions
from dynpool.analysis.comparison.plots.examples import BACKGROUND
from dynpool.analysis.comparison.read_runs import Run
from tests.analysis.comparison.plots.drawn import runs_of

WriteRun = Callable[..., Path]


def _examples(classes: tuple[str, ...] = ("background", "bar"), side: int = 8) -> Examples:
    masks = np.zeros((3, side, side), dtype=np.uint8)
    masks[:, 2:4, 2:6] = 1
    masks[:, 0] = 255
    return Examples(
        images=np.full((3, 3, side, side), 1, dtype=np.uint8) * np.array([90, 60, 30], dtype=np.uint8)[:, None, None],
        masks=masks,
        predicted=np.where(masks == 255, 0, masks).astype(np.uint8),
        classes=classes,
        objects=np.array([[k, 1] for k in range(1, 12)]),
        fields=np.array([[8.0, 16, 3, 30, 5, 50], [4.0, 8, 6, 6, np.inf, np.inf]]),
    )


@pytest.fixture
def runs(tmp_path: Path, write_run: WriteRun) -> list[Run]:
    for method, seed in (("human", 0), ("human", 1), ("dynopool", 0)):
        write_run(tmp_path / f"{method}{seed}", method, seed)
    return [replace(run, examples=_examples()) for run in runs_of(tmp_path)]


def _of_seeds(runs: list[Run], change: Callable[[Examples, int], Examples]) -> list[Run]:
    """The runs with other examples for each seed."""
    return [replace(run, examples=change(_examples(), run.seed)) for run in runs]


def _names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_text()]


def test_images_masks_and_one_row_for_each_group(runs: list[Run]) -> None:
    figure = plot_predictions(runs)
    assert len(figure.axes) == 3 * 4
    assert [name for name in _names(figure) if "seed" not in name] == ["image", "mask", "human", "dynopool"]
    mask = figure.axes[3].images[0].get_array()
    assert mask is not None
    dark = [round(255 * part) for part in to_rgb(BACKGROUND)]
    assert mask[0, 0].tolist() == [255, 255, 255]  # does not count
    assert mask[1, 1].tolist() == dark
    assert mask[2, 2].tolist() == mask[3, 5].tolist() not in ([255] * 3, dark)
    predicted = figure.axes[6].images[0].get_array()
    assert predicted is not None
    assert predicted[0, 0].tolist() == dark
    picture = figure.axes[0].images[0].get_array()
    assert picture is not None
    assert picture.shape == (8, 8, 3)
    assert picture[4, 5].tolist() == [90, 60, 30]
    (legend,) = figure.legends
    named = {
        text.get_text(): [round(255 * part) for part in to_rgb(patch.get_facecolor())]
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    assert named == {"background": dark, "bar": mask[2, 2].tolist(), "does not count": [255] * 3}


def test_predictions_are_those_of_the_first_run_of_a_group_with_its_score(runs: list[Run]) -> None:
    figure = plot_predictions(
        _of_seeds(runs, lambda found, seed: replace(found, predicted=np.full_like(found.predicted, seed)))
    )
    dark = [round(255 * part) for part in to_rgb(BACKGROUND)]
    for axes in figure.axes[6:]:
        shown = axes.images[0].get_array()
        assert shown is not None
        assert shown[3, 3].tolist() == dark, "class 0, of seed 0"
    first = {run.method: run for run in runs if run.seed == 0}
    names = _names(figure)
    for method, run in first.items():
        assert run.last.score is not None
        assert names[names.index(method) + 1] == f"seed 0, {100 * run.last.score:.1f} %"


def test_names_of_classes_in_the_legend_run_from_left_to_right(runs: list[Run]) -> None:
    classes = tuple(f"class-{number}" for number in range(21))
    figure = plot_predictions([replace(run, examples=_examples(classes)) for run in runs])
    figure.draw_without_rendering()
    places = {text.get_text(): text.get_window_extent() for text in figure.legends[0].get_texts()}
    in_order = sorted(places, key=lambda name: (-round(places[name].y0), places[name].x0))
    assert in_order == [*classes, "does not count"]


@pytest.mark.parametrize("count", [2, 21, 80])
def test_many_classes_stay_inside_the_picture(runs: list[Run], count: int) -> None:
    classes = tuple(f"class-{number}" for number in range(count))
    figure = plot_predictions([replace(run, examples=_examples(classes)) for run in runs])
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent().transformed(figure.transFigure.inverted())
    lowest = min(axes.get_position().y0 for axes in figure.axes)
    assert box.x0 >= 0
    assert box.x1 <= 1
    assert box.y1 <= lowest + 0.02
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == len(set(names)) == min(count, 24) + 1


def test_fields_are_drawn_at_the_height_of_their_maps_beside_the_sizes_of_objects(runs: list[Run]) -> None:
    figure = plot_objects(runs)
    axes = figure.axes[0]
    bars = [line for line in axes.lines if line.get_linewidth() == 3.2]
    assert len(bars) == 2  # one group each, without the map whose field is infinite
    for bar in bars:
        assert np.asarray(bar.get_ydata()).tolist() == [3, 5]
        assert np.asarray(bar.get_xdata())[0] == pytest.approx(8, rel=0.1)
    ends = [line for line in axes.lines if line.get_marker() == "_"]
    assert [np.asarray(line.get_ydata()).tolist() for line in ends] == [[5], [5]]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["human", "dynopool", "objects, 10 to 90 %: 2 to 10", "their median: 6", "image: 8"]
    (band,) = axes.patches
    box = band.get_extents().transformed(axes.transData.inverted())
    assert (box.y0, box.y1) == pytest.approx((2, 10))
    across = [np.asarray(line.get_ydata())[0] for line in axes.lines if np.asarray(line.get_xdata()).tolist() == [0, 1]]
    assert across == [6, 8]


def test_fields_are_those_of_the_first_run_of_a_group(runs: list[Run]) -> None:
    figure = plot_objects(_of_seeds(runs, lambda found, seed: replace(found, fields=found.fields + 100 * seed)))
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3.2]
    assert [np.asarray(bar.get_ydata()).tolist() for bar in bars] == [[3, 5]] * 2


def test_runs_without_examples_have_no_such_pictures(runs: list[Run]) -> None:
    bare = [replace(run, examples=None) for run in runs]
    for plot in (plot_predictions, plot_objects):
        with pytest.raises(ValueError, match="no run has examples to plot"):
            plot(bare)
