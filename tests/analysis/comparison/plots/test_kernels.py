"""The plot of learned kernels: kernels and their maps to one scale, and the initial kernels outlined."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dynpool.analysis.comparison.plots import draw, plot_kernels
from dynpool.analysis.comparison.read_runs import Run
from tests.analysis.comparison.plots.drawn import runs_of, texts

WriteRun = Callable[..., Path]
Sizes = Mapping[str, tuple[int, int]]

START = {"stem": (7, 7), "block.conv": (7, 7)}
MAPS = {"stem": (32, 28), "block.conv": (16, 14)}


def _learning(run: Run, last: Sizes) -> Run:
    """The run with learned kernels that start at START and end at `last`."""
    history = [replace(row, kernels=START, kernel_maps=MAPS) for row in run.history]
    return replace(run, history=(*history[:-1], replace(history[-1], kernels=last)))


def _rectangles(figure: Figure, *, filled: bool) -> list[tuple[float, float]]:
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    return [(patch.get_height(), patch.get_width()) for patch in patches if patch.get_fill() == filled]


def test_kernels_and_maps_are_to_one_scale_and_initial_kernels_outlined(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path / "a", "njet", 0)
    write_run(tmp_path / "b", "njet", 1)
    last = {"stem": (11, 9), "block.conv": (7, 7)}
    figure = plot_kernels([_learning(run, last) for run in runs_of(tmp_path)])
    drawn = _rectangles(figure, filled=True)
    scale = drawn[0][0] / 32
    expected = [MAPS["stem"], last["stem"], MAPS["block.conv"], last["block.conv"]]  # one row for both seeds
    assert np.allclose(drawn, scale * np.array(expected))
    outlines = _rectangles(figure, filled=False)
    assert np.allclose(outlines[0], 7 * scale)
    assert len(outlines) == 2  # and the key
    words = texts(figure)
    assert {"11×9 / 32×28", "7×7 / 16×14", "seeds 0, 1", "dashed: the kernel before training"} <= set(words)
    top, bottom = figure.axes[0].get_ylim()[::-1]
    assert (bottom - top) == pytest.approx(figure.get_figheight()), "an inch of data is an inch of picture"


@pytest.mark.parametrize("count", [1, 9, 30])
def test_all_layers_stay_inside_the_picture(tmp_path: Path, write_run: WriteRun, count: int) -> None:
    write_run(tmp_path / "a", "a-method-of-a-long-name", 0)
    names = [f"stages.{i}.blocks.{i}.conv" for i in range(count)]
    kernels, maps = dict.fromkeys(names, (31, 5)), dict.fromkeys(names, (224, 160))
    (run,) = runs_of(tmp_path)
    rows = tuple(replace(row, kernels=kernels, kernel_maps=maps) for row in run.history)
    figure = plot_kernels([replace(run, history=rows)])
    width, height = figure.get_size_inches()
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(patches) == 2 * count
    for patch in patches:
        assert 0 <= patch.get_x() <= patch.get_x() + patch.get_width() <= width
        assert 0 <= patch.get_y() <= patch.get_y() + patch.get_height() <= height


def test_only_runs_with_learned_kernels_are_drawn(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(tmp_path / "a", "human", 0)
    write_run(tmp_path / "b", "njet", 0)
    human, njet = runs_of(tmp_path)
    assert "kernels" not in draw([human])
    assert list(draw([human, _learning(njet, START)])) == [
        "accuracy_vs_gmacs", "sizes", "kernels", "i_min", "alphas", "accuracy",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no run has learned kernels to plot"):
        plot_kernels([human])
