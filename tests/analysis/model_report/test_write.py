"""The files of a model's report: all or none of them, in the form that their names say."""

import csv
import functools
import json
import shutil

import pytest
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.analysis.common.style import to_png
from dynpool.analysis.model_report.write import write_analysis

ALWAYS = {"report.json", "layers.csv", "fields.png", "network.png", "network.dot"}


@pytest.fixture(autouse=True)
def _no_graphviz(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch):
    monkeypatch.setattr("dynpool.analysis.common.style.to_png", functools.partial(to_png, dpi=20))


def net(conv: type = nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv(1, 2, 3, padding=1), conv(2, 2, 3))


def test_files_hold_what_the_report_does(tmp_path):
    report = receptive_field(net(), (1, 12, 12))
    written = write_analysis(net(), report, tmp_path / "new" / "out", name="mine", effective=True)
    assert {path.name for path in written} == ALWAYS | {"image.png", "effective.json", "effective.png"}
    out = tmp_path / "new" / "out"
    assert {path.name for path in out.iterdir()} == {path.name for path in written}
    data = json.loads((out / "report.json").read_text())
    assert data["model"] == "mine"
    assert data["i_min"] == [5, 5]
    with (out / "layers.csv").open(newline="") as file:
        assert [row["layer"] for row in csv.DictReader(file)] == ["0", "1"]
    assert (out / "network.dot").read_text() == report.to_dot()
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written if path.suffix == ".png")


def test_a_model_of_sequences_has_no_image(tmp_path):
    report = receptive_field(net(nn.Conv1d), (1, 12))
    assert {path.name for path in write_analysis(net(nn.Conv1d), report, tmp_path)} == ALWAYS


def test_where_a_layer_is_unknown_nothing_is_written(tmp_path):
    report = receptive_field(net(), (1, 12, 12))
    with pytest.raises(ValueError, match="layers has '7': the model has no such layer; known: 0, 1"):
        write_analysis(net(), report, tmp_path / "out", layers=["7"])
    assert not (tmp_path / "out").exists()


def test_graphviz_that_fails_is_a_warning_and_no_file(tmp_path, monkeypatch, caplog):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no fonts >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    written = write_analysis(net(), receptive_field(net(), (1, 12, 12)), tmp_path / "out")
    assert "network.svg" not in {path.name for path in written}
    assert "network.svg was not rendered: no fonts" in caplog.text
