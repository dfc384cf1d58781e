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


def _filled_and_outlined(human: tuple[int, ...], learned: tuple[int, ...], runs: tuple[Run, ...]) -> Figure:
    side = max(*human, *learned)
    networks = [{"input": (side,) * len(human), "a": size, "b": size} for size in (human, learned)]
    return plot_sizes([_with_sizes(run, sizes) for run, sizes in zip((runs[0], runs[3]), networks, strict=True)])


@pytest.mark.parametrize(
    ("human", "learned"), [((8, 8, 16), (8, 8, 2)), ((8, 8, 2), (8, 8, 16)), ((8, 16), (8, 2)), ((16,), (8,))]
)
def test_a_map_and_its_outline_are_in_the_middle_of_their_column(
    comparison_folder: Path, human: tuple[int, ...], learned: tuple[int, ...]
) -> None:
    axes = _filled_and_outlined(human, learned, runs_of(comparison_folder)).axes[0]
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)][:-1]
    heads = {text.get_text(): text.get_position()[0] for text in axes.texts if text.get_text() in ("input", "a", "b")}
    shapes = len(patches) // 8  # of a map: 6 maps and 2 outlines
    for column, first in (("a", 4 * shapes), ("b", 6 * shapes)):  # filled and outlined by turns
        pair = patches[first : first + 2 * shapes]
        left = min(patch.get_x() for patch in pair)
        right = max(patch.get_x() + patch.get_width() for patch in pair)
        assert (left + right) / 2 == pytest.approx(heads[column])
        for filled, outline in zip(pair[::2], pair[1::2], strict=True):
            assert (filled.get_fill(), outline.get_fill()) == (True, False)
            middles = [patch.get_x() + patch.get_width() / 2 for patch in (filled, outline)]
            assert middles[0] == pytest.approx(middles[1])


@pytest.mark.parametrize(
    ("human", "learned", "outlined"),
    [
        ((1024,), (2,), 0), ((1024,), (1000,), 1), ((64, 64, 64), (2, 64, 64), 1), ((64, 64, 64), (64, 2, 2), 1),
        ((64, 64, 64), (2, 2, 2), 0), ((64, 64), (2, 2), 0), ((64, 64), (2, 60), 1),
    ],
)  # fmt: skip
def test_what_is_drawn_to_a_few_pixels_is_opaque_and_has_no_outline(
    comparison_folder: Path, human: tuple[int, ...], learned: tuple[int, ...], outlined: int
) -> None:
    figure = _filled_and_outlined(human, learned, runs_of(comparison_folder))
    assert len(_rectangles(figure, filled=False)) == 2 * outlined + 1  # the last one is the key
    filled = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_fill()]
    shapes = len(filled) // 6
    assert sum(patch.get_alpha() == 1 for patch in filled[-2 * shapes :]) == 2 * (shapes - outlined)


@pytest.mark.parametrize("size", [(8, 40), (40, 10, 20), (10, 40, 60)])
def test_the_tallest_map_or_strip_decides_the_scale(comparison_folder: Path, size: tuple[int, ...]) -> None:
    drawn = _rectangles(plot_sizes([_with_sizes(runs_of(comparison_folder)[0], {"input": size})]), filled=True)
    assert max(height for height, _ in drawn) == pytest.approx(1.35)
    assert drawn[-1] == pytest.approx(tuple(side * 1.35 / max(size[:-1]) for side in size[-2:]))


@pytest.mark.parametrize(("depth", "cells"), [(32, 32), (64, 1)])
def test_a_strip_has_cells_where_they_fit(comparison_folder: Path, depth: int, cells: int) -> None:
    figure = plot_sizes([_with_sizes(runs_of(comparison_folder)[0], {"input": (depth, 16, 16)})])
    lines = [found for found in figure.axes[0].collections if isinstance(found, LineCollection)]
    assert 1 + sum(len(found.get_segments()) for found in lines) == cells


def test_maps_of_series_are_bars_of_their_lengths(comparison_folder: Path) -> None:
    runs = runs_of(comparison_folder)
    figure = plot_sizes([_with_sizes(runs[0], {"input": (128,), "a": (64,)})])
    (tall, wide), (other, half) = _rectangles(figure, filled=True)
    assert tall == other
    assert half == pytest.approx(wide / 2)
    assert "128" in texts(figure)
