"""The verdict has the numbers of the layers; files are strict JSON and CSV."""

import csv
import io
import re

import pytest
import torch
import torchvision
from rich.console import Console
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.analysis.model_report.text import table, to_csv, verdict
from dynpool.baselines import FixedSpectralPooling2d


@pytest.fixture(scope="module")
def vgg():
    with torch.device("meta"):
        return receptive_field(torchvision.models.vgg16(), (3, 32, 32))


def test_sentence_counted_by_hand(vgg):
    convs = [row for row in vgg.layers if row.kind == "convolution"]
    # the seven behind features.12, whose r_min is 32: one of 256 channels, one of 256 to 512, five of 512
    parameters = 590080 + 1180160 + 5 * 2359808
    macs = 37748736 * 3 + 18874368 + 9437184 * 3
    assert len(convs) == 13
    assert (vgg.unproductive_parameters, vgg.unproductive_macs) == (parameters, macs)
    share, work = round(100 * parameters / 138357544), round(100 * macs / vgg.total_macs)
    assert verdict(vgg) == (
        f"7 of 13 convolutions are unproductive at 32 pixels: {share} % of parameters, {work} % of MACs"
    )


def test_other_sentences():
    one = nn.Sequential(nn.Conv2d(3, 4, 9, padding=4), nn.Conv2d(4, 4, 3, padding=1))
    assert verdict(receptive_field(one, (3, 9, 8))).startswith("1 of 2 convolutions is unproductive at 9x8 pixels: ")
    assert verdict(receptive_field(one, (3, 40, 40))) == ("All 2 convolutions are productive at 40 pixels (I_min 11)")
    pooled = nn.Sequential(one[0], nn.MaxPool2d(2, 1))
    assert verdict(receptive_field(pooled, (3, 9, 9))) == (
        "The only convolution is productive at 9 pixels (I_min 10), 1 other layer is not"
    )
    spectral = nn.Sequential(one[0], FixedSpectralPooling2d(2), one[1])
    assert verdict(receptive_field(spectral, (3, 40, 40))) == (
        "The only convolution is productive at 40 pixels (I_min 9); 1 more is behind a global operation and not counted"
    )
    none = nn.Sequential(nn.MaxPool2d(2))
    assert verdict(receptive_field(none, (3, 8, 8))) == "No layer is a convolution with a local receptive field"

    class Unknown(nn.Module):
        def forward(self, x):
            return torch.histc(x)

    report = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3), Unknown()), (1, 8, 8))
    assert verdict(report).endswith("; unreliable, as there is no rule for aten.histc")


def test_table_is_coloured(vgg):
    console = Console(width=150, force_terminal=True, color_system="truecolor", record=True, file=io.StringIO())
    console.print(table(vgg))
    lines = console.export_text(styles=True).splitlines()
    for row in vgg.layers:
        (line,) = [line for line in lines if re.search(rf"{row.name}(?!\d)", line)]
        assert ("\x1b[1;31m" in line) == (row.name in vgg.unproductive)
        assert ("\x1b[38;5;208m" in line) == (row.name in set(vgg.underutilized) - set(vgg.unproductive))


def test_csv_has_a_column_per_axis(vgg):
    rows = list(csv.DictReader(io.StringIO(to_csv(vgg))))
    assert [row["layer"] for row in rows] == [row.name for row in vgg.layers]
    assert [float(row["r_min_width"]) for row in rows] == [row.r_min[1] for row in vgg.layers]
    assert [row["mark"] for row in rows].count("unproductive") == len(vgg.unproductive)
    line = receptive_field(nn.Sequential(nn.Conv1d(1, 2, 3)), (1, 32))
    assert to_csv(line).splitlines()[0].startswith("layer,kind,kernel_length,stride_length,")
