"""The report as text, plain data and files."""

import csv
import json
import math

import pytest

from tests.analysis.representations.similarity_reports import cka_report


def test_text():
    text = str(cka_report(border_layer_a="pool", border_a=1, notices=("few images",), unbiased=True))
    lines = text.splitlines()
    assert lines[1].split() == ["conv1", "0.900", "conv1", "0.900"]
    assert lines[2].split() == "conv2 0.750 conv2 0.750 from the border layer on".split()
    assert lines[3] == "linear CKA of channel means, unbiased, averaged over 3 batches, 96 images"
    assert lines[4] == (
        "Layers of the same name have a CKA of 0.825 on average: 0.900 before the border layer pool, 0.750 from it on"
    )
    assert lines[5] == "note: few images"


def test_text_of_other_layers_and_of_constant_ones():
    report = cka_report(((math.nan, math.nan), (0.1, 0.2)), layers_b=("x", "y"))
    assert report.verdict == "there are no layers of the same name to compare"
    assert str(report).splitlines()[1].split() == ["conv1", "-", "-", "-"]
    assert str(report).splitlines()[2].split() == ["conv2", "-", "y", "0.200"]


def test_similarity():
    report = cka_report()
    assert (report.similarity("conv2"), report.similarity("conv2", "conv1")) == (0.75, 0.25)
    with pytest.raises(ValueError, match="layer_b='conv3' was not compared; did you mean"):
        report.similarity("conv2", "conv3")
    with pytest.raises(ValueError, match="layer_a='x' was not compared"):
        report.similarity("x", "conv1")


def test_files(tmp_path):
    paths = cka_report(((math.nan, 0.5), (0.25, 0.75))).write(tmp_path)
    data = json.loads(paths[0].read_text())
    assert data["values"] == [["nan", 0.5], [0.25, 0.75]]
    assert (data["images"], data["border_layer_a"], data["notices"]) == (96, None, [])
    with paths[1].open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [["layer", "conv1", "conv2"], ["conv1", "nan", "0.5"], ["conv2", "0.25", "0.75"]]
