"""Runs in processes of their own report events, which the comparison tells as lines."""

import io
import json

import pytest
from rich.console import Console

from dynpool.analysis.comparison.settings import find_settings
from dynpool.training.comparison import _event, _open, _Pool, _words, default_workers
from dynpool.training.config import ComparisonConfig, GridPoint, RunConfig
from dynpool.training.matching import Queue
from dynpool.training.progress import epoch_line
from tests.dynpool.training.test_progress import ROW

RUN = RunConfig(name="human-seed0", epochs=4)


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        ({"event": "start", "name": "human-seed0", "epochs": 4, "done": 0}, []),
        ({"event": "start", "name": "human-seed0", "epochs": 4, "done": 3}, ["human-seed0  continues after epoch 3/4"]),
        ({"event": "epoch", "row": ROW}, [epoch_line("human-seed0", 4, ROW)]),
    ],
)
def test_an_event_is_told_as_the_run_itself_would(event, lines):
    assert _words(RUN, _event(json.dumps(event))) == lines


@pytest.mark.parametrize("line", ["epoch 3/4 of something else", "17", '{"no": "event"}', ""])
def test_what_other_code_prints_is_passed_on(line):
    assert _words(RUN, _event(line)) == [line]


def test_bars_follow_the_epochs(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    pool = _Pool(ComparisonConfig(), Queue([(RUN, GridPoint("human"))]), 2, [], console)
    with pool._telling() as tell:
        tell(RUN, {"event": "epoch", "row": ROW})
    said = screen.getvalue()
    assert "2/4" in said
    assert epoch_line("human-seed0", 4, ROW) in said


def test_a_quiet_comparison_tells_nothing(capsys):
    run = (RUN, GridPoint("human"))
    with _Pool(ComparisonConfig(), Queue([run]), 2, [], Console(quiet=True))._telling() as tell:
        tell(RUN, {"event": "epoch", "row": ROW})
    assert capsys.readouterr().out == ""


def test_a_comparison_has_no_more_workers_than_runs():
    config = ComparisonConfig(methods=("human",), seeds=(0,), device="cpu", threads=1)
    assert default_workers(config) == 1
    assert default_workers(ComparisonConfig(workers=5)) == 5


def test_a_comparison_of_each_against_each_writes_its_pairs_for_the_report(tmp_path):
    config = ComparisonConfig(methods=("human", "fixed", "dynopool"), pairs="all", out=str(tmp_path))
    _open(config, [], resume=False, overwrite=False)
    expected = (("fixed", "human"), ("dynopool", "human"), ("dynopool", "fixed"))
    assert find_settings([tmp_path / "human-seed0"]).pairs == expected
    _open(config, [], resume=True, overwrite=False)
