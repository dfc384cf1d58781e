"""Tables in colours, as HTML, CSV and data frames have the values of the report."""

import csv
import io
import re

import pytest
import torch
import torchvision
from rich.console import Console
from torch import nn

from dynpool.analysis import receptive_field


@pytest.fixture(scope="module")
def vgg():
    with torch.device("meta"):
        return receptive_field(torchvision.models.vgg16(), (3, 32, 32))


def test_table_is_coloured(vgg):
    console = Console(width=150, force_terminal=True, color_system="truecolor", record=True, file=io.StringIO())
    console.print(vgg.table())
    lines = console.export_text(styles=True).splitlines()
    for row in vgg.layers:
        (line,) = [line for line in lines if re.search(rf"{row.name}(?!\d)", line)]
        assert ("\x1b[1;31m" in line) == (row.name in vgg.unproductive)
        assert ("\x1b[38;5;208m" in line) == (row.name in set(vgg.underutilized) - set(vgg.unproductive))


def test_no_cell_is_cut_off_at_the_width_of_the_table(vgg):
    table = vgg.table(
        3, ["kind", "calls", "input", "output", "r_min", "r_max", "macs", "weights", "activations", "peak"]
    )
    console = Console(width=table.width, file=(shown_as := io.StringIO()))
    console.print(table)
    shown = shown_as.getvalue().split()
    assert shown == " ".join(str(table).splitlines()[: 1 + len(table.parts)]).split()


def test_csv_has_a_column_per_axis(vgg, tmp_path):
    rows = list(csv.DictReader(io.StringIO(vgg.to_csv(tmp_path / "layers.csv"))))
    assert (tmp_path / "layers.csv").read_text() == vgg.to_csv()
    assert [row["layer"] for row in rows] == [row.name for row in vgg.layers]
    assert [float(row["r_min_width"]) for row in rows] == [row.r_min[1] for row in vgg.layers]
    assert [int(row["activations"]) for row in rows] == [row.activation_bytes for row in vgg.layers]
    assert [int(row["weights"]) for row in rows] == [row.weight_bytes for row in vgg.layers]
    assert [row["mark"] for row in rows].count("unproductive") == len(vgg.unproductive)
    line = receptive_field(nn.Sequential(nn.Conv1d(1, 2, 3)), (1, 32))
    assert line.to_csv().splitlines()[0].startswith("layer,kind,calls,kernel_length,stride_length,")
    assert receptive_field(nn.Linear(3, 3), (3, 3)).to_csv() == "layer\n"


def test_frame_has_the_values_of_the_csv(vgg):
    pandas = pytest.importorskip("pandas")
    frame = vgg.to_frame()
    pandas.testing.assert_frame_equal(
        frame, pandas.read_csv(io.StringIO(vgg.to_csv()), keep_default_na=False), check_dtype=False
    )
    modules = vgg.table(1).to_frame()
    assert modules["depth"].tolist() == [0, 1, 1, 1]
    assert modules["macs"][0] == modules["macs"][1:].sum() == vgg.total_macs
    assert modules["r_min_height"].isna().tolist() == [False, False, True, True]


def test_html_has_every_cell_escaped_and_in_colour(vgg):
    html = vgg._repr_html_()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    table = vgg.table()
    assert len(cells) == len(vgg.layers) * (len(table.columns) + 2)
    assert [cell for cell in cells if cell.startswith("features")] == [row.name for row in vgg.layers]
    assert html.count("background:#A50F15") == len(vgg.unproductive) * (len(table.columns) + 2)
    assert f"<b>{table.title}</b>" in html
    assert "max(r_min, kernel · S)" in html

    class Sum(nn.Sequential):
        pass

    Sum.__name__ = "Sum<int> & more"
    odd = receptive_field(Sum(nn.Conv2d(3, 4, 3)), (3, 8, 8))
    assert "Sum&lt;int&gt; &amp; more" in odd.table(0)._repr_html_()
