"""`analysis` and `baselines` are short for `dynpool.analysis` and `dynpool.baselines`, which nothing hides."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

OWN = """
import analysis, baselines
assert analysis.MINE and baselines.MINE
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.analysis.integrations import scalars
from dynpool.baselines import DiffStride2d, refine
from dynpool.cli import main
raise SystemExit(main(["analyze", "vgg11", "--input-size", "32", "--out", "out"]))
"""

SHORT = """
from analysis import receptive_field
import analysis, baselines, dynpool.analysis, dynpool.baselines
assert analysis is dynpool.analysis and baselines is dynpool.baselines
from analysis.fields.report import FieldReport
import analysis.integrations.tensorboard as writer
import dynpool.analysis.fields.report as report
import dynpool.analysis.integrations.tensorboard as long
assert FieldReport is report.FieldReport and writer is long
assert report.__spec__.name == report.__name__ == "dynpool.analysis.fields.report"
import pickle
assert pickle.loads(pickle.dumps(receptive_field)) is dynpool.analysis.receptive_field
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(["", str(ROOT)]),
        "PYTHONWARNINGS": "error::ImportWarning",
    }
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_packages_of_the_same_names_hide_nothing(tmp_path: Path) -> None:
    for name in ("analysis", "baselines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    done = run(OWN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.json").exists()


def test_short_names_are_the_same_modules(tmp_path: Path) -> None:
    done = run(SHORT, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["analysis.nothing", "analysis.fields.nothing", "baselines.nothing"])
def test_what_is_not_there_is_not_found(name: str) -> None:
    assert importlib.util.find_spec(name) is None
    with pytest.raises(ModuleNotFoundError, match=rf"No module named '{name}'"):
        importlib.import_module(name)
