"""Links from a report to its runs lead to files that exist, and lie over the points of the plot."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from matplotlib import image
from matplotlib.colors import to_rgb

from dynpool.analysis.comparison import compare_runs
from dynpool.analysis.comparison.plots import method_colors, plot_tradeoff, to_png, tradeoff_positions
from dynpool.analysis.comparison.run_links import points_of_runs, run_files

WriteRun = Callable[..., Path]


def addresses(html: str) -> list[str]:
    return [unquote(unescape(address)) for address in re.findall(r'href="([^"]*)"', html)]


def test_the_files_of_a_run_are_found_from_the_folder_of_the_report(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path / 'odd "name" #1 & 50%', "human")
    (folder / "i_min.jsonl").unlink(missing_ok=True)
    out = tmp_path / "reports" / "new"
    html = run_files(folder, out)
    found = [(out / address).resolve() for address in addresses(html)]
    assert found
    assert set(found) <= set(folder.iterdir())
    assert {"config.yaml", "metrics.csv"} <= {path.name for path in found}
    assert "i_min.jsonl" not in html
    inside = addresses(run_files(folder, tmp_path))
    assert all(address.startswith("./odd") for address in inside), "not taken for a scheme such as 'c:'"


def test_a_link_lies_over_the_point_of_each_run(comparison_folder: Path, tmp_path: Path) -> None:
    runs = compare_runs([comparison_folder]).runs
    figure = plot_tradeoff(runs)
    picture = image.imread(io.BytesIO(to_png(figure)))[..., :3]
    positions = tradeoff_positions(figure, runs)
    places = [position for position in positions if position is not None]
    for run, (x, y) in zip(runs, places, strict=True):
        row, column = round(y * picture.shape[0]), round(x * picture.shape[1])
        pixel = picture[row, column]
        distances = {method: np.abs(pixel - to_rgb(color)).sum() for method, color in method_colors(runs).items()}
        assert min(distances, key=lambda method: float(distances[method])) == run.method
        assert pixel.min() < 0.8, "a marker is drawn there"
    html = points_of_runs(figure, runs, tmp_path / "out")
    found = [(tmp_path / "out" / address).resolve() for address in addresses(html)]
    assert found == [run.folder / "config.yaml" for run in runs]
    assert 'data-tip="human, seed 0: 82.0 %' in html
    assert html.count('class="point left"') == sum(x > 0.5 for x, _ in places)


def test_a_run_without_a_finite_cost_has_no_point(comparison_folder: Path, tmp_path: Path) -> None:
    first, *others = compare_runs([comparison_folder]).runs
    endless = replace(first, history=(*first.history[:-1], replace(first.last, gmacs=float("inf"))))
    runs = [endless, *others]
    figure = plot_tradeoff(runs)
    to_png(figure)
    assert tradeoff_positions(figure, runs)[0] is None
    assert points_of_runs(figure, runs, tmp_path).count("<a ") == len(others)
