"""The sensitivity that a run logs: of its own batches, without a trace in its results, resumed to the same lines."""

import json
import shutil
import signal

import pytest
import torch

import dynpool
from dynpool.training import checkpoint as checkpoints
from dynpool.training.data import load_data
from dynpool.training.errors import ConfigError, StoppedError
from dynpool.training.loop import train
from dynpool.training.restored import restored_model
from dynpool.training.run import Run
from dynpool.training.sensitivity import LOGGED_BATCHES, RunBatches, run_sensitivity
from tests.dynpool.training.runs import assert_same_run, tiny_run

EVERY = "--sensitivity_every=2"


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Four epochs of the small run, with sensitivities of every second."""
    out = tmp_path_factory.mktemp("logged") / "run"
    train(tiny_run(out, EVERY, "--label_smoothing=0.1"))
    return out


def lines(run):
    return [json.loads(line) for line in (run / "sensitivity.jsonl").read_text().splitlines()]


def test_a_run_is_the_same_with_and_without_it(logged, tmp_path):
    train(tiny_run(tmp_path / "run", "--label_smoothing=0.1"))
    assert_same_run(logged, tmp_path / "run")
    assert not (tmp_path / "run" / "sensitivity.jsonl").exists()
    done, other = (json.loads((run / "done.json").read_text()) for run in (logged, tmp_path / "run"))
    assert done["fingerprint"] == other["fingerprint"]
    assert set(done["files"]) - set(other["files"]) == {"sensitivity.jsonl"}


def test_lines_are_those_of_the_saved_network(logged):
    config = tiny_run(logged, "--label_smoothing=0.1")
    found = lines(logged)
    assert [line["step"] for line in found] == [0, 2, 4]
    model, _ = restored_model(logged)
    report = run_sensitivity(model, RunBatches(load_data(config.data).train, config, LOGGED_BATCHES))
    assert found[-1] == {"step": 4, **json.loads(json.dumps(report.to_dict()))}


def test_batches_are_of_the_run_and_always_the_same(tmp_path):
    config = tiny_run(tmp_path, "--batch_size=50")
    data = load_data(config.data).train
    batches = RunBatches(data, config, 3)
    first, second = list(batches), list(batches)
    assert len(batches) == len(first) == 3
    for (images, labels), (again, _) in zip(first, second, strict=True):
        assert torch.equal(images, again)
        assert len(labels) == 50
    everything = RunBatches(data, config, 10**6)
    assert len(everything) == len(list(everything)) == len(data) // 50
    assert len(list(RunBatches(data, tiny_run(tmp_path, "--batch_size=100000"), 3))) == 1


def test_resumed_after_an_epoch_and_in_the_middle_of_a_measurement(logged, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(logged, run)
    (run / "done.json").unlink()
    for epoch in (3, 4):
        checkpoints.epoch_path(run, epoch).unlink()
    checkpoints.epoch_path(run, 2).replace(checkpoints.last_path(run))
    config = tiny_run(run, EVERY, "--label_smoothing=0.1")
    asked = Run._stop_if_asked

    def stop(self, progress):
        if progress.epoch == 4:
            self.stop.note(signal.SIGTERM)
        asked(self, progress)

    measured = Run._log_sensitivity

    def interrupted(self, progress):
        monkeypatch.setattr(Run, "_stop_if_asked", stop)  # asked before each of its batches
        measured(self, progress)

    monkeypatch.setattr(Run, "_log_sensitivity", interrupted)
    with pytest.raises(StoppedError):
        train(config, resume=True)
    monkeypatch.undo()
    assert [line["step"] for line in lines(run)] == [0, 2]
    train(config, resume=True)
    assert_same_run(logged, run)
    assert (run / "sensitivity.jsonl").read_bytes() == (logged / "sensitivity.jsonl").read_bytes()


def test_a_damaged_log_is_restored(logged, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(logged, run)
    (run / "sensitivity.jsonl").write_text("damaged")
    train(tiny_run(run, EVERY, "--label_smoothing=0.1"), resume=True)
    assert "sensitivity.jsonl was missing or damaged; it is restored" in caplog.text
    assert (run / "sensitivity.jsonl").read_bytes() == (logged / "sensitivity.jsonl").read_bytes()


def test_a_log_of_the_users_own_is_left_alone(tmp_path):
    (tmp_path / "sensitivity.jsonl").write_text("mine")
    with pytest.raises(Exception, match=r"sensitivity\.jsonl was not written by a run"):
        train(tiny_run(tmp_path, EVERY))
    assert (tmp_path / "sensitivity.jsonl").read_text() == "mine"


def test_plain_networks_are_measured_and_those_without_resizers_refused(tmp_path):
    train(tiny_run(tmp_path / "human", "--method=human", "--epochs=1", "--sensitivity_every=1"))
    assert [line["step"] for line in lines(tmp_path / "human")] == [0, 1]
    flat = tiny_run(tmp_path / "flat", "--method=human", "--epochs=1", EVERY, "--model.options.widths=[4]")
    with pytest.raises(
        ConfigError, match=r"the sizes of tiny \(method 'human'\) cannot be measured: .*nothing to learn"
    ):
        train(flat)
    with pytest.raises(ConfigError, match="sensitivity_every is -1"):
        tiny_run(tmp_path, "--sensitivity_every=-1")


def test_the_loss_is_that_of_the_task(logged):
    """With label smoothing, without the term of the GMACs."""
    config = tiny_run(logged, "--label_smoothing=0.1")
    model, _ = restored_model(logged)
    batches = RunBatches(load_data(config.data).train, config, 2)
    model.eval()
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(model(images), labels, label_smoothing=0.1) for images, labels in batches
        ]
    assert run_sensitivity(model, batches, steps=(1,)).loss.mean == pytest.approx(
        torch.stack(losses).mean().item(), rel=1e-6
    )
    assert isinstance(run_sensitivity(model, batches, steps=(1,)), dynpool.SensitivityReport)
