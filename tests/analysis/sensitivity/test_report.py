"""The report as text, plain data and files."""

import json
import math

import pytest
from PIL import Image

from dynpool.analysis.common.statistics import MeanStd
from dynpool.analysis.sensitivity import SensitivityReport
from tests.analysis.sensitivity.rows import row


def report(*rows, batches=4, loss=1.25):
    return SensitivityReport(
        "Net", (3, 32, 32), batches, 32, False, 99, MeanStd(loss, 0.1, batches), (-2, -1, 1, 2), rows
    )


def test_text():
    text = str(report(row(), row(axis="width", gradient=(0.5, 0.01), slope=(-0.2, 0.01), differences={1: 0.1})))
    lines = text.splitlines()
    assert lines[0].split() == "resolution axis size -2 -1 +1 +2 slope gradient snr agree".split()
    assert lines[1].split() == "features.3 height 8x9 - +0.3 +0.1 - -0.2 ± 0.05 -0.5 1.00 yes".split()
    assert lines[2].split()[-3:] == ["50.00", "no", "*"]
    assert lines[3] == "not reachable: features.3 height -2, +2 (too small)"
    assert "loss 1.25 at the current sizes" in text
    assert "4 batches, 32 images, eval mode" in text
    assert len({line.index("agree") for line in lines[:1]}) == 1


def test_text_of_volumes_and_sequences():
    lines = str(report(row(axis="depth", size=(4, 8, 9)), row(axis="length", size=(400,)))).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["features.3", "depth", "4x8x9"], ["features.3", "length", "400"]
    ]  # fmt: skip


def test_verdict():
    clear = {"gradient": (0.5, 0.01), "slope": (0.2, 0.01)}
    assert report(row(), row(gradient=(0.5, 0.5))).verdict == (
        "the gradient points to the side on which the loss rises less in 1 of 2 directions; in none do the 95 % "
        "intervals of both exclude zero"
    )
    assert report(row(), row(**clear)).verdict.endswith(
        "in 2 of 2 directions, and in 1 of the 1 in which the 95 % intervals of both exclude zero"
    )
    assert report(row(slope=None)).verdict == "there is no pair of a gradient and a difference both ways to compare"


def test_files(tmp_path):
    found = report(row(), row(axis="width", differences={-1: math.nan, 1: math.inf}), loss=math.nan)
    out = tmp_path / "a" / "b"
    assert found.write(str(out)) == [out / "sensitivity.json", out / "sensitivity.png"]

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads((out / "sensitivity.json").read_text(), parse_constant=refuse)
    assert data["loss"]["mean"] == "nan"
    assert data["rows"][1]["differences"]["+1"]["mean"] == "inf"
    assert [data[key] for key in ("batches", "images", "passes", "steps")] == [4, 32, 99, [-2, -1, 1, 2]]
    assert Image.open(out / "sensitivity.png").width == 1800
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        found.write(tmp_path / "file")
