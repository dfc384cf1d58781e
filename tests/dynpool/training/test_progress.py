"""What is told of a run: the same epochs as lines for people and as JSON for programs."""

import json

import pytest

from dynpool.training.progress import JsonReporter, LineReporter, Silent, epoch_line, final_line, reporting

ROW = {
    "epoch": 2,
    "train_loss": 0.5,
    "test_accuracy": 0.75,
    "gmacs": 0.001,
    "i_min_h": 7.0,
    "i_min_w": 9.0,
    "images_per_second": None,
    "sizes": {"pool": (8, 8)},
}


def test_an_epoch_in_a_line() -> None:
    assert epoch_line("a", 4, ROW).split("  ") == [
        "a",
        "epoch 2/4",
        "loss 0.5000",
        "accuracy 0.7500",
        epoch_line("", 4, ROW).split("  ")[4],
        "I_min 7.0 x 9.0",
    ]


@pytest.mark.parametrize("axes", ["l", "dhw"])
def test_the_line_of_an_epoch_has_i_min_along_each_axis(axes: str) -> None:
    row = {key: value for key, value in ROW.items() if not key.startswith("i_min")}
    fields = {f"i_min_{axis}": float(n) for n, axis in enumerate(axes, 3)}
    shown = " x ".join(f"{value}" for value in fields.values())
    assert epoch_line("a", 4, row | fields).endswith(f"  I_min {shown}")


def test_a_quiet_run_prints_nothing(capsys):
    with reporting(quiet=True) as reporter:
        assert isinstance(reporter, Silent)
        reporter.start("a", 4, 1, 100)
        reporter.epoch(ROW)
    assert capsys.readouterr().out == ""


def test_json_lines_hold_what_the_lines_are_made_from(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(json_lines=True) as reporter:
        assert isinstance(reporter, JsonReporter)
        reporter.start("a", 4, 1, 100)
        reporter.advance(50)
        reporter.epoch(ROW)
    start, epoch = map(json.loads, capsys.readouterr().out.splitlines())
    assert start == {"event": "start", "name": "a", "epochs": 4, "done": 1}
    assert epoch["event"] == "epoch"
    assert epoch_line("a", 4, epoch["row"]) == epoch_line("a", 4, ROW)


def test_lines_say_where_a_run_continues(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter()
    reporter.start("a", 4, 0, 100)
    reporter.start("b", 4, 1, 100)
    reporter.epoch(ROW)
    assert capsys.readouterr().out.splitlines() == ["b  continues after epoch 1/4", epoch_line("b", 4, ROW)]


def test_final_figures_in_a_line() -> None:
    line = final_line({"name": "a", "test_accuracy": 0.5, "gmacs": 0.002}, "runs/a")
    assert line.startswith("a  accuracy 0.5000  ")
    assert line.endswith("  runs/a")
