"""Texts that fit, and are shown as they are."""

import string
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dynpool.analysis.common.style import WIDTH, legend, path_end, plain, short, styled, to_files, to_png


def test_path_end():
    assert path_end("layer1.0.conv1", 14) == "layer1.0.conv1"
    assert path_end("features.denseblock1.denselayer5.conv2", 20) == "…denselayer5.conv2"
    assert len(path_end("a_single_part_that_is_far_too_long", 12)) <= 12


@pytest.mark.parametrize("most", [1, 2, 7, 25, 26])
def test_a_long_text_keeps_its_ends_and_its_length_is_held(most):
    text = string.ascii_lowercase
    found = short(text, most)
    assert len(found) == min(most, len(text))
    before, _, after = found.partition("…")
    assert text.startswith(before)
    assert text.endswith(after)
    assert len(before) <= len(after) or found == text


@pytest.mark.parametrize("text", ["_private", "costs $5 or $6", "_$x$"])
def test_names_are_drawn_as_they_are(text):
    figure = Figure()
    label = figure.text(0.5, 0.5, plain(text))
    assert label.get_text().replace("\u200a", "").replace(r"\$", "$") == text
    assert "$" not in plain(text).replace(r"\$", "")
    assert not plain(text).startswith("_")  # which would leave a label out of legends
    to_png(figure, dpi=20)


def test_a_legend_has_as_many_rows_as_it_needs():
    figure = Figure(figsize=(WIDTH, 2))
    for length, rows in ((5, 1), (40, 2), (100, 3)):
        handles = [Line2D([], [], label="x" * length) for _ in range(3)]
        legend(figure, handles)
        FigureCanvasAgg(figure).draw()
        assert len({round(text.get_window_extent().y0) for text in figure.legends[-1].get_texts()}) == rows


def test_a_column_of_a_legend_is_as_wide_as_its_longest_label():
    figure = Figure(figsize=(WIDTH, 3))
    legend(figure, [Line2D([], [], label="x" * length) for length in (17, 16, 10, 22, 21, 5, 8, 12, 15)])
    FigureCanvasAgg(figure).draw()
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.width


def test_a_figure_as_files_is_the_same_each_time_and_its_text_is_text():
    def made(vector):
        figure = Figure(figsize=(2, 1))
        styled(figure.add_subplot(), "pixels & cells", "accuracy").plot([1, 2])
        return to_files(figure, "one", vector=vector)

    assert list(made(False)) == ["one.png"]
    first = made(True)
    assert first == made(True)
    assert first["one.png"] == made(False)["one.png"]
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(first["one.svg"])
    assert root.tag == f"{svg}svg"
    assert {"pixels & cells", "accuracy"} <= {(text.text or "").strip() for text in root.iter(f"{svg}text")}
