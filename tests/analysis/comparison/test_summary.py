"""Comparison of runs: figures, headline, findings, and the printed output against golden files."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dynpool.analysis.comparison.summary import compare_runs

WriteRun = Callable[..., Path]


def test_dict_survives_json(comparison_folder: Path) -> None:
    data = json.loads(json.dumps(compare_runs([comparison_folder]).to_dict()))
    assert [row["method"] for row in data["methods"]] == ["human", "dynopool"]
    assert data["methods"][0]["accuracy"] == {
        "mean": pytest.approx(0.83),
        "std": pytest.approx(0.01),
        "n": 3,
    }
    assert data["runs"][0]["sizes"]["features.2"] == [16, 16]
    assert data["runs"][0]["i_max"] == [math.inf, math.inf]


def test_error_of_one_folder_names_it(tmp_path: Path, write_run: WriteRun) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad")
    (bad / "metrics.csv").write_text("something,else\n")
    with pytest.raises(ValueError, match=r"bad: metrics.csv is not that of a run"):
        compare_runs([good, bad])
