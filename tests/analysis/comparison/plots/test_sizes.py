"""The plot of sizes: feature maps to scale, inside the picture, and named."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dynpool.analysis.comparison.plots import plot_sizes
from dynpool.analysis.comparison.read_runs import Run
from tests.analysis.comparison.plots.drawn import runs_of, texts

WriteRun = Callable[..., Path]


def _rectangles(figure: Figure, *, filled: bool) -> list[tuple[float, float]]:
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    return [(patch.get_height(), patch.get_width()) for patch in patches if patch.get_fill() == filled]


def test_sizes_are_to_scale(comparison_folder: Path) -> None:
    runs = runs_of(comparison_folder)
    figure = plot_sizes(runs)
    drawn = _rectangles(figure, filled=True)
    shown = [size for run in (runs[0], *runs[3:]) for size in run.last.sizes.values()]
    assert len(drawn) == len(shown), "three human networks of the same sizes share a row"
    scale = drawn[0][0] / shown[0][0]
    for (height, width), size in zip(drawn, shown, strict=True):
        assert np.allclose((height, width), (size[0] * scale, size[1] * scale))
    outlines = _rectangles(figure, filled=False)[:-1]  # the last one is the key
    human = [pytest.approx(side * scale) for side in (16, 8, 4)] * 3
    assert [height for height, _ in outlines] == human
    words = texts(figure)
    assert "seeds 0, 1, 2" in words
    assert all(f"{height}×{width}" in words for height, width in shown)
    top, bottom = figure.axes[0].get_ylim()[::-1]
    assert (bottom - top) == pytest.approx(figure.get_figheight()), "an inch of data is an inch of picture"


@pytest.mark.parametrize("count", [1, 5, 20])
def test_sizes_stay_inside_the_picture(tmp_path: Path, write_run: WriteRun, count: int) -> None:
    folder = write_run(tmp_path / "a", "a-method-of-a-long-name", input_size=(3, 224, 160), checksums=False)
    metrics = folder / "metrics.csv"
    sizes = {"input": [224, 160]} | {
        f"stages.{i}.blocks.{i}.downsample.conv": [224 >> i, 320 >> i] for i in range(count)
    }
    sizes = {name: [max(1, side) for side in size] for name, size in sizes.items()}
    text = metrics.read_text().splitlines()
    cells = text[-1].split('"{')
    start, end = text[-1].index('"{'), text[-1].index('}"') + 2
    assert len(cells) == 4
    quoted = "{" + ", ".join(f'""{name}"": [{size[0]}, {size[1]}]' for name, size in sizes.items()) + "}"
    text[-1] = f'{text[-1][:start]}"{quoted}"{text[-1][end:]}'
    metrics.write_text("\n".join(text) + "\n")
    figure = plot_sizes(runs_of(folder))
    axes = figure.axes[0]
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(patches) == count + 1
    for patch in patches:
        assert 0 < patch.get_x() <= patch.get_x() + patch.get_width() < 9.0
        assert 0 < patch.get_y() <= patch.get_y() + patch.get_height() < figure.get_figheight()
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts if "×" in text.get_text()]
    assert len(boxes) == count + 1
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :]), "labels overlap"


def test_sizes_outline_the_design_at_the_same_input_and_name_points(tmp_path: Path, write_run: WriteRun) -> None:
    folders = []
    for side in (16, 32):
        point = f"data.resolution={side}"
        folders += [write_run(tmp_path / f"h{side}", "human", input_size=(1, side, side), grid_point=point)]
    for seed in (0, 1):
        for budget in (1, 2):
            point = f"gmacs_budget={budget}"
            folders += [write_run(tmp_path / f"d{budget}{seed}", "dynopool", seed, grid_point=point)]
    axes = plot_sizes(runs_of(*folders)).axes[0]
    words = [text.get_text() for text in axes.texts]
    expected = ["data.resolution=16\nseed 0", "data.resolution=32\nseed 0"]
    expected += [f"gmacs_budget={budget}\nseed 0\n(1 more not drawn)" for budget in (1, 2)]
    assert [text for text in words if "seed" in text] == expected
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    filled = [patch for patch in patches if patch.get_fill()]
    outlines = [patch.get_width() for patch in patches if not patch.get_fill()]
    of_32 = [patch.get_width() for patch in filled[5:8]]  # behind the input of the second row
    assert outlines[:3] == pytest.approx(of_32)
    assert outlines[3:6] == pytest.approx(of_32)


def _with_sizes(run: Run, sizes: Mapping[str, tuple[int, ...]]) -> Run:
    return replace(run, history=(*run.history[:-1], replace(run.last, sizes=sizes)))


def test_maps_of_volumes_have_a_strip_as_tall_as_they_are_deep(comparison_folder: Path) -> None:
    runs = runs_of(comparison_folder)
    human = {"input": (16, 20, 12), "a": (8, 10, 6)}
    learned = {"input": (16, 20, 12), "a": (12, 6, 9)}
    figure = plot_sizes([_with_sizes(runs[0], human), _with_sizes(runs[3], learned)])
    drawn = _rectangles(figure, filled=True)
    scale = drawn[1][0] / 20
    strip = drawn[0][1]
    expected = []
    for depth, height, width in (*human.values(), *learned.values()):
        expected += [(depth * scale, strip), (height * scale, width * scale)]
    assert np.allclose(drawn, expected)
    outlines = _rectangles(figure, filled=False)[:-1]
    assert np.allclose(outlines, [(8 * scale, strip), (10 * scale, 6 * scale)])
    lines = [found for found in figure.axes[0].collections if isinstance(found, LineCollection)]
    cells = sum(len(found.get_segments()) for found in lines)
    assert cells == 15 + 7 + 15 + 11
    assert "12×6×9" in texts(figure)


def test_maps_of_series_are_bars_of_their_lengths(comparison_folder: Path) -> None:
    runs = runs_of(comparison_folder)
    figure = plot_sizes([_with_sizes(runs[0], {"input": (128,), "a": (64,)})])
    (tall, wide), (other, half) = _rectangles(figure, filled=True)
    assert tall == other
    assert half == pytest.approx(wide / 2)
    assert "128" in texts(figure)
