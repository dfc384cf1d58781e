"""A report's files are strict JSON, a table that csv reads, and a picture."""

import csv
import json
import math

import pytest
from matplotlib.figure import Figure
from PIL import Image

from dynpool.analysis.representations.report_files import write_files


def test_files(tmp_path):
    out = tmp_path / "a" / "b"
    rows = [("layer", "value"), ("a,b", 0.25), ("c", None)]
    paths = write_files(str(out), "cka", {"values": [math.nan, 1.0]}, rows, Figure(figsize=(2, 1)))
    assert paths == [out / f"cka.{ending}" for ending in ("json", "csv", "png")]
    assert json.loads(paths[0].read_text()) == {"values": ["nan", 1.0]}
    with paths[1].open(newline="") as file:
        assert list(csv.reader(file)) == [["layer", "value"], ["a,b", "0.25"], ["c", ""]]
    assert Image.open(paths[2]).size == (400, 200)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_files(tmp_path / "file", "cka", {}, [], Figure())
