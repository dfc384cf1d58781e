"""Events of many runs are shown as lines, or as one table with a row for each run in progress."""

import io
import logging

import pytest
from rich.console import Console

from dynpool.training.executors.events import Advanced, Ended, EpochEnded, Failed, Noted, Started
from dynpool.training.progress import epoch_line, final_line
from dynpool.training.progress_table import lines_of, showing
from tests.dynpool.training.test_progress import ROW

NAME = "human-seed0"
FIGURES = {"name": NAME, "test_accuracy": 0.5, "gmacs": 0.002}


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (Started(NAME, 4, 0, 100), []),
        (Started(NAME, 4, 3, 100), ["human-seed0  continues after epoch 3/4"]),
        (Advanced(NAME, 10), []),
        (EpochEnded(NAME, ROW), [epoch_line(NAME, 4, ROW)]),
        (Noted(NAME, "epoch 3/4 of something else"), ["epoch 3/4 of something else"]),
        (Noted(NAME, "beware", warning=True), []),
        (Ended(NAME, FIGURES, "runs/a"), [final_line(FIGURES, "runs/a")]),
        (Failed(NAME, "out of reach"), [f"{NAME}  failed: out of reach"]),
    ],
)
def test_an_event_as_lines(event, lines, capsys):
    assert lines_of(event, 4) == lines
    with showing(Console(force_terminal=False), {NAME: 4}) as tell:
        tell(event)
    assert capsys.readouterr().out.splitlines() == lines


def on_screen(*events):
    screen = io.StringIO()
    with showing(Console(file=screen, force_terminal=True, width=200), {NAME: 4, "b": 4}) as tell:
        for event in events:
            tell(event)
    return screen.getvalue()


def test_the_table_has_a_row_for_all_runs_and_for_those_in_progress():
    said = on_screen(Started(NAME, 4, 0, 100), EpochEnded(NAME, ROW))
    assert "0/2 runs" in said
    assert "2/4" in said
    assert epoch_line(NAME, 4, ROW) in said
    last = on_screen(Started(NAME, 4, 0, 100), Ended(NAME, FIGURES, "runs/a")).rpartition("all runs")[2]
    assert "1/2 runs" in last
    assert NAME not in last


def test_a_run_that_is_started_again_has_one_row():
    begun = Started(NAME, 4, 1, 100)
    last = on_screen(begun, Advanced(NAME, 50), Started(NAME, 4, 2, 100)).rpartition("all runs")[2]
    assert last.count(NAME) == 1
    assert "2/4" in last


def test_a_quiet_comparison_shows_nothing_but_warnings(capsys, caplog):
    with caplog.at_level(logging.WARNING), showing(Console(quiet=True), {NAME: 4}) as tell:
        tell(EpochEnded(NAME, ROW))
        tell(Noted(NAME, "beware", warning=True))
    assert capsys.readouterr().out == ""
    assert caplog.messages == ["human-seed0: beware"]
