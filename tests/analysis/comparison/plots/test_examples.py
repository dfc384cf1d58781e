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
        images=np.full((3, 1, side, side), 90, dtype=np.uint8),
        masks=masks,
        predicted=np.where(masks == 255, 0, masks).astype(np.uint8),
        classes=classes,
        objects=np.array([[2, 4]] * 10),
        fields=np.array([[8.0, 8, 3, 3, 5, 5], [4.0, 4, 6, 6, np.inf, np.inf]]),
    )


@pytest.fixture
def runs(tmp_path: Path, write_run: WriteRun) -> list[Run]:
    for method, seed in (("human", 0), ("human", 1), ("dynopool", 0)):
        write_run(tmp_path / f"{method}{seed}", method, seed)
    return [replace(run, examples=_examples()) for run in runs_of(tmp_path)]


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
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["human", "dynopool", "objects, 10 to 90 %: 4 to 4", "their median: 4", "image: 8"]


def test_runs_without_examples_have_no_such_pictures(runs: list[Run]) -> None:
    bare = [replace(run, examples=None) for run in runs]
    for plot in (plot_predictions, plot_objects):
        with pytest.raises(ValueError, match="no run has examples to plot"):
            plot(bare)
