"""The report as text, plain data and files."""

import csv
import json
import math

import pytest
from PIL import Image

from dynpool.analysis.representations import HeatMap, Probe
from tests.analysis.representations.reports import report
from tests.analysis.representations.small import row


def rows():
    return (
        row("a", relative=0.5),
        row("b", r_min_in=(6.0, 7.0), relative=0.99, accuracy=0.94, share=0.4),
        row("c", r_min_in=(12.0, 13.0), relative=0.99, accuracy=0.94, share=0.1, probe=Probe(0.94, 400, False, 9)),
        row("d", r_min_in=None, relative=1.0, accuracy=None, share=None, size=(), kind="Linear", channels=10),
    )


def test_text():
    lines = str(report(*rows(), notices=("a notice",))).splitlines()
    assert lines[0].split() == "layer kind output r_min r_max probe relative saturation".split()
    assert lines[1].split() == "a Conv2d 100x6x6 3 3 50.0 % 0.500 50.0 %".split()
    assert lines[2].split() == "b Conv2d 100x6x6 8x9 8x9 94.0 % 0.990 40.0 %".split()
    assert lines[3].split() == "c Conv2d 100x6x6 14x15 14x15 94.0 % ! 0.990 10.0 % unproductive, tail".split()
    assert lines[4].split() == "d Linear 10 - - - 1.000 -".split()
    assert len({line.index(word) for line in lines[1:4] for word in ("Conv2d",)}) == 1
    assert lines[5] == "Net: 95.0 % of 400 held-out images; 1000 training images"
    assert lines[6].startswith("The tail has 1 layer, c; the receptive field at 12 pixels")
    text = "\n".join(lines[7:])
    assert "is at most 0.01 below that of c" in text
    assert "standard error of up to 2.5 %, more than that tolerance" in text
    assert "saturation stays at most 0.5 times its maximum from c on" in text
    assert "1 probe not converged" in text
    assert lines[-1] == "a notice"


def test_too_few_samples_are_said():
    assert "fewer samples than channels, so that the saturation is too low: a" in str(report(row("a", samples=100)))
    assert "fewer samples" not in str(report(row("a", samples=101)))


def test_enough_images_need_no_warning():
    many = Probe(0.94, 10**6, True, 9)
    assert "uncertain" not in str(report(row("a", probe=many), row("b", probe=many)))


def test_files(tmp_path):
    heat = HeatMap("b", (2, 2), ((0.5, 0.75), (0.25, 1.0)), 3)
    everywhere = (math.inf, math.inf)
    found = report(*rows(), row("e", r_min_in=None, r_min=everywhere, r_max_local=everywhere), heatmaps=(heat,))
    out = tmp_path / "a" / "b"
    names = ["inspection.json", "inspection.csv", "inspection-layers.png", "inspection-heatmaps.png"]
    assert found.write(str(out)) == [out / name for name in names]

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads((out / "inspection.json").read_text(), parse_constant=refuse)
    assert data["rows"][4]["r_min"] == ["inf", "inf"]
    assert data["heatmaps"] == [heat.to_dict()]
    assert (data["border"]["r_min"], data["border"]["r_min_by_axis"]) == ("c", ["c", "c"])
    assert (data["tail"]["solved"], data["tail"]["tail"], data["accuracy"]) == ("b", ["c"], 0.95)
    with (out / "inspection.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["name"] for line in table] == ["a", "b", "c", "d", "e"]
    assert [table[1][key] for key in ("size", "r_min_height", "r_min_width", "r_max_in_width")] == [
        "6x6", "8.0", "9.0", "7.0",
    ]  # fmt: skip
    assert table[3]["r_min_height"] == table[3]["saturation"] == ""
    assert Image.open(out / "inspection-layers.png").width == 1800
    assert "1 probe of heat maps not converged" in str(found)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        found.write(tmp_path / "file")


def test_without_heat_maps_there_is_no_figure_of_them():
    assert list(report(*rows()).plot()) == ["layers"]
