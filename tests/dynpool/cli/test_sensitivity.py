"""dynpool sensitivity says and writes the sensitivity of a run's network."""

import json

import pytest

from dynpool.cli import main
from dynpool.training.data import load_data
from dynpool.training.loop import train
from dynpool.training.restored import restored_model
from dynpool.training.sensitivity import RunBatches, run_sensitivity
from tests.dynpool.cli.printed import document
from tests.dynpool.training.runs import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "a"
    train(tiny_run(out, "--epochs=1"))
    return out


def test_train_images_are_the_default(run, capsys):
    assert main(["sensitivity", "--run", str(run), "--batches", "2", "--steps", "1"]) == 0
    said = capsys.readouterr()
    config = tiny_run(run)
    data, (model, _) = load_data(config.data), restored_model(run)
    report = run_sensitivity(model, RunBatches(data.train, config, 2), steps=(1,))
    assert str(report) in said.out
    assert "dynopool, seed 0, train images" in said.out
    assert f"{report.passes} forward passes: {report.passes // 2} for each of 2 batches" in said.err
    out = run / "sensitivity"
    assert json.loads((out / "sensitivity.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert {file.name for file in out.iterdir()} == {"sensitivity.json", "sensitivity.png"}
    assert said.out.endswith(f"written to {out}: sensitivity.json, sensitivity.png\n")


def test_test_images_in_training_mode(run, capsys, tmp_path):
    arguments = ["--split", "test", "--training", "--batches", "1", "--steps", "2", "--out", str(tmp_path / "out")]
    assert main(["sensitivity", "--run", str(run), *arguments]) == 0
    assert "test images" in capsys.readouterr().out
    config = tiny_run(run)
    model, _ = restored_model(run)
    expected = run_sensitivity(model, RunBatches(load_data(config.data).test, config, 1), steps=(2,), training=True)
    written = json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    assert written == json.loads(json.dumps(expected.to_dict()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: --run"),
        (["--run", "nowhere"], "--run: nowhere: no such run folder"),
        (["--run", "RUN", "--batches", "0"], "--batches: '0'; allowed: a whole number above 0"),
        (["--run", "RUN", "--steps", "1", "1"], "--steps is 1 1; allowed: distinct numbers of pixels"),
        (["--run", "RUN", "--split", "validation"], "--split: invalid choice: 'validation'"),
        (["--run", "PARENT"], "a comparison, not a run: name one of the runs in it: a"),
        (["--run", "RUN", "--step", "1"], "unknown option '--step'; did you mean '--steps'?"),
    ],
)
def test_one_line_says_what_is_wrong(run, arguments, said, capsys):
    names = {"RUN": str(run), "PARENT": str(run.parent)}
    assert main(["sensitivity", *(names.get(word, word) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_json_is_the_report_and_quiet_prints_the_table_alone(run, capsys):
    command = ["sensitivity", "--run", str(run), "--batches", "1", "--steps", "1"]
    assert main([*command, "--json"]) == 0
    found = document(capsys)
    written = json.loads((run / "sensitivity" / "sensitivity.json").read_text())
    assert found == {**written, "run": "dynopool, seed 0", "split": "train", "folder": str(run / "sensitivity")}
    assert main([*command, "--quiet"]) == 0
    said = capsys.readouterr()
    assert "written to" not in said.out
    assert said.err == ""
