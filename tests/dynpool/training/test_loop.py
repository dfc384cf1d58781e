"""A run is reproducible, resumes to the same bits, and never loses what it has saved."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile

import pytest

from dynpool.training import checkpoint as checkpoints
from dynpool.training.errors import (
    ConfigError,
    DamagedCheckpointError,
    DiskFullError,
    RunFolderError,
    UnwritableError,
)
from dynpool.training.files import locked
from dynpool.training.loop import train
from tests.dynpool.training.runs import TINY_OPTIONS, assert_same_run, rows, tiny_run


def test_methods_start_from_the_same_weights_and_see_the_same_images(straight, tmp_path):
    train(tiny_run(tmp_path / "human", "--method=human", "--epochs=1"))
    human, learned = rows(tmp_path / "human")[0], rows(straight)[0]
    for key in ("test_accuracy", "gmacs", "i_min_h"):
        assert human[key] == learned[key]
    assert float(human["test_loss"]) == pytest.approx(float(learned["test_loss"]), rel=1e-5)
    assert human["alphas"] == "{}"
    assert human["alpha_lr"] == ""


def test_killed_in_the_middle_of_an_epoch_and_resumed(straight, tmp_path):
    """SIGKILL after two finished epochs; what follows equals the run that was never interrupted, bit for bit."""
    run = tmp_path / "run"
    script = (
        "import sys, time\n"
        "from dynpool.training import loop, run\n"
        "original = run.Run._train\n"
        "def slow(self, progress, reporter):\n"
        "    if progress.epoch == 3:\n"
        "        reporter.advance = lambda n: (print('in epoch 3', flush=True), time.sleep(60))\n"
        "    return original(self, progress, reporter)\n"
        "run.Run._train = slow\n"
        "from dynpool.training.config import RunConfig\n"
        "from dynpool.training.config_file import load_config\n"
        "loop.train(load_config(RunConfig, None, sys.argv[1:])[0])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *TINY_OPTIONS, "--out", str(run)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in epoch 3\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [row["epoch"] for row in rows(run)] == ["0", "1", "2"]
    assert not (run / "done.json").exists()
    train(tiny_run(run), resume=True)
    assert_same_run(straight, run)
    sessions = json.loads((run / "environment.json").read_text())["sessions"]
    assert [s["resumed_after_epoch"] for s in sessions] == [None, 2]


def test_killed_between_row_and_checkpoint(straight, tmp_path, monkeypatch):
    """Rows and lines later than the checkpoint are dropped and written anew; half a line too."""
    run = tmp_path / "run"

    def stop(state, *paths, original=checkpoints.save):
        if state.epoch == 3:
            raise KeyboardInterrupt
        original(state, *paths)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_run(run))
    assert [row["epoch"] for row in rows(run)] == ["0", "1", "2", "3"]
    with (run / "i_min.jsonl").open("a") as file:
        file.write('{"step": 3, "si')
    train(tiny_run(run), resume=True)
    assert_same_run(straight, run)


def test_a_folder_with_a_run_is_not_touched_without_leave(straight):
    before = {p: p.read_bytes() for p in straight.rglob("*") if p.is_file()}
    with pytest.raises(RunFolderError, match=r"already holds a run: continue it with --resume"):
        train(tiny_run(straight))
    assert {p: p.read_bytes() for p in straight.rglob("*") if p.is_file()} == before


def test_a_finished_run_resumed_is_returned_as_it_is(straight):
    before = (straight / "metrics.csv").stat().st_mtime_ns
    figures = train(tiny_run(straight), resume=True)
    done = json.loads((straight / "done.json").read_text())
    assert figures == {k: v for k, v in done.items() if k not in ("files", "checksum")}
    assert (straight / "metrics.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("option", "message"),
    [("--lr=0.2", "lr: 0.05 -> 0.2"), ("--epochs=5", "epochs: 4 -> 5"), ("--seed=1", "seed: 0 -> 1")],
)
def test_resuming_another_configuration_names_the_keys(straight, option, message):
    with pytest.raises(RunFolderError, match=re.escape(message)):
        train(tiny_run(straight, option), resume=True)
    assert (straight / "done.json").exists()


def test_more_epochs_at_a_constant_rate(tmp_path):
    train(tiny_run(tmp_path / "a", "--scheduler=constant", "--epochs=1"))
    train(tiny_run(tmp_path / "a", "--scheduler=constant", "--epochs=2"), resume=True)
    train(tiny_run(tmp_path / "b", "--scheduler=constant", "--epochs=2"))
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_overwrite_discards_the_run_only(tmp_path):
    train(tiny_run(tmp_path, "--epochs=1"))
    (tmp_path / "notes.txt").write_text("mine")
    train(tiny_run(tmp_path, "--epochs=2", "--checkpoint_every=0"), overwrite=True)
    assert [row["epoch"] for row in rows(tmp_path)] == ["0", "1", "2"]
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["last.pt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resume_without_a_run_starts_one(tmp_path):
    train(tiny_run(tmp_path / "new", "--epochs=1"), resume=True)
    assert [row["epoch"] for row in rows(tmp_path / "new")] == ["0", "1"]


def test_a_damaged_checkpoint_says_what_else_there_is(tmp_path):
    train(tiny_run(tmp_path, "--epochs=1", "--scheduler=constant"))
    last = checkpoints.last_path(tmp_path)
    last.write_bytes(last.read_bytes()[:1000])
    done = tmp_path / "done.json"  # without last.pt the run would count as finished, as its weights may be removed
    with pytest.raises(DamagedCheckpointError, match=rf"remove it and {done} to continue after epoch-0001\.pt"):
        train(tiny_run(tmp_path, "--epochs=1", "--scheduler=constant"), resume=True)
    done.unlink()
    with pytest.raises(DamagedCheckpointError, match=r"remove it to continue after epoch-0001\.pt"):
        train(tiny_run(tmp_path, "--epochs=2", "--scheduler=constant"), resume=True)
    last.unlink()
    assert train(tiny_run(tmp_path, "--epochs=1", "--scheduler=constant"), resume=True)["epochs"] == 1
    assert last.exists()
    assert train(tiny_run(tmp_path, "--epochs=2", "--scheduler=constant"), resume=True)["epochs"] == 2


def test_a_bad_configuration_leaves_a_run_as_it_is(straight):
    before = (straight / "metrics.csv").read_bytes()
    with pytest.raises(ConfigError, match="not a known method"):
        train(tiny_run(straight, "--method=nothing"), overwrite=True)
    assert (straight / "metrics.csv").read_bytes() == before


def test_input_size_that_is_not_the_data_s(tmp_path):
    with pytest.raises(ConfigError, match=r"input_size is \(3, 9, 9\), but the images have \(1, 16, 16\)"):
        train(tiny_run(tmp_path, "--input_size=[3,9,9]"))


def test_a_folder_in_use_is_refused(tmp_path):
    with locked(tmp_path), pytest.raises(RunFolderError, match="being written by another process"):
        train(tiny_run(tmp_path))


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableError, match="is a file; choose a folder with --out"):
        train(tiny_run(tmp_path / "file" / "run"))


def test_folder_without_permission(tmp_path, monkeypatch):
    def denied(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    with pytest.raises(UnwritableError, match="Permission denied; choose a place that can be written"):
        train(tiny_run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_within_an_epoch_stays_until_that_of_the_epoch_is_there(straight, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def full(state, *paths, original=checkpoints.save):
        if state.epoch == 2 and state.partial is None:
            raise DiskFullError("full")
        original(state, *paths)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", full)
        with pytest.raises(DiskFullError):
            train(tiny_run(run, "--save_steps=1"))
    saved = checkpoints.load(checkpoints.stopped_path(run))
    assert saved.epoch == 1
    assert saved.partial is not None
    assert saved.partial.step == 5  # of 6
    train(tiny_run(run, "--save_steps=1"), resume=True)
    assert_same_run(straight, run)


def test_full_disk_during_a_run_keeps_what_is_saved(straight, tmp_path, monkeypatch):
    run = tmp_path / "run"
    original = os.fsync
    with monkeypatch.context() as patch:

        def full(handle):
            if (run / "metrics.csv").exists() and len(rows(run)) >= 3:
                raise OSError(28, "No space left on device")
            original(handle)

        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError, match="No space left on device; free some space"):
            train(tiny_run(run))
    train(tiny_run(run), resume=True)
    assert_same_run(straight, run)
