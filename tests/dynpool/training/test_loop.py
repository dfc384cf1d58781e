"""A run is reproducible, resumes to the same bits, and never loses what it has saved."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import yaml

import dynpool
from dynpool.analysis.tracking.tracker import IMinTracker
from dynpool.training import checkpoint as checkpoints
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.data import load_data
from dynpool.training.errors import (
    ConfigError,
    DamagedCheckpointError,
    DiskFullError,
    DivergedError,
    RunFolderError,
    UnwritableError,
)
from dynpool.training.files import locked
from dynpool.training.loop import prepare_model, train
from dynpool.training.run import learning_rate_factor
from dynpool.training.run_folder import COLUMNS

VARIES = ("seconds", "images_per_second", "peak_memory", "checksum")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in VARIES} for row in csv.DictReader(file)]


def assert_same_run(a: Path, b: Path) -> None:
    assert rows(a) == rows(b)
    assert (a / "i_min.jsonl").read_text() == (b / "i_min.jsonl").read_text()
    one, two = (checkpoints.load(checkpoints.last_path(run)) for run in (a, b))
    assert one.epoch == two.epoch
    for name, value in one.model.items():
        assert torch.equal(value, two.model[name]), name
    for state, other in zip(one.optimizer["state"].values(), two.optimizer["state"].values(), strict=True):
        assert torch.equal(state["momentum_buffer"], other["momentum_buffer"])


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Four epochs of the small run, without interruption."""
    folder = tmp_path_factory.mktemp("straight")
    config, _ = load_config(RunConfig, None, [*TINY_OPTIONS, "--out", str(folder / "run")])
    train(config)
    return folder / "run"


TINY_OPTIONS = [
    "--name=tiny", "--model.options.widths=[4,6,8]", "--data.variant=tile", "--data.resolution=16", "--epochs=4",
    "--data.test_fraction=0.8", "--data.shift=1", "--lr=0.05", "--alpha_lr=1", "--alpha_momentum=0.9", "--threads=1",
    "--gmacs_weight=10", "--device=cpu", "--checkpoint_every=1",
]  # fmt: skip


def tiny_run(out: Path, *options: str) -> RunConfig:
    return load_config(RunConfig, None, [*TINY_OPTIONS, "--out", str(out), *options])[0]


def test_what_a_run_leaves(straight):
    found = {p.relative_to(straight).as_posix() for p in straight.rglob("*") if p.is_file()}
    kept = {f"checkpoints/epoch-{e:04d}.pt" for e in range(5)}
    assert found == {
        "config.yaml", "environment.json", "metrics.csv", "i_min.jsonl", "method.txt", "done.json", ".lock",
        "checkpoints/last.pt",
    } | kept  # fmt: skip
    with (straight / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == (*COLUMNS, "checksum")
    assert [int(r["epoch"]) for r in table] == [0, 1, 2, 3, 4]
    first, last = table[0], table[-1]
    assert first["train_loss"] == first["train_accuracy"] == first["images_per_second"] == ""
    assert 0 <= float(first["test_accuracy"]) <= 1
    assert float(last["train_loss"]) == pytest.approx(float(last["task_loss"]) + float(last["gmacs_loss"]))
    assert float(last["gmacs_loss"]) == pytest.approx(10 * float(last["gmacs"]), rel=0.2)
    assert next(iter(json.loads(last["sizes"]))) == "input"
    config = yaml.safe_load((straight / "config.yaml").read_text())
    assert config["input_size"] == [1, 16, 16]
    assert config["method"] == "dynopool"
    session = json.loads((straight / "environment.json").read_text())["sessions"][0]
    assert session["torch"] == torch.__version__
    assert json.loads((straight / "done.json").read_text())["test_accuracy"] == float(last["test_accuracy"])


def test_sizes_were_learned(straight):
    first, *_, last = rows(straight)
    assert first["alphas"] != last["alphas"]
    assert all(0.5 <= a <= 8 for pair in json.loads(last["alphas"]).values() for a in pair)


def test_two_runs_give_the_same_bits(straight, tmp_path):
    train(tiny_run(tmp_path / "run"))
    assert_same_run(straight, tmp_path / "run")


def test_kept_checkpoints_give_the_logged_i_min(straight, tmp_path):
    """I_min recomputed offline from each saved checkpoint equals the line logged when it was saved."""
    config = tiny_run(straight)
    lines = [json.loads(line) for line in (straight / "i_min.jsonl").read_text().splitlines()]
    for epoch in range(5):
        path = checkpoints.epoch_path(straight, epoch)
        model = prepare_model(config, load_data(config.data)).model
        checkpoints.restore_model(model, checkpoints.load(path), path)
        IMinTracker(model, (1, 16, 16), tmp_path / f"{epoch}.jsonl").log(epoch)
        assert json.loads((tmp_path / f"{epoch}.jsonl").read_text()) == lines[epoch]


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
        "original = run.Run._pass\n"
        "def slow(self, course, reporter):\n"
        "    if course.epoch == 3:\n"
        "        reporter.advance = lambda n: (print('in epoch 3', flush=True), time.sleep(60))\n"
        "    return original(self, course, reporter)\n"
        "run.Run._pass = slow\n"
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


def test_dropout_resumes_to_the_same_bits(tmp_path):
    options = ["--model.name=timm:resnet10t", "--model.options={drop_rate: 0.5}", "--data.resolution=16", "--epochs=2"]
    options += ["--data.variant=plain", "--data.test_fraction=0.95", "--checkpoint_every=1", "--method=human"]
    config = tiny_run(tmp_path / "a", *options)
    train(config)
    (tmp_path / "a" / "done.json").unlink()
    before = rows(tmp_path / "a")
    checkpoints.epoch_path(tmp_path / "a", 1).replace(checkpoints.last_path(tmp_path / "a"))
    train(config, resume=True)
    assert rows(tmp_path / "a") == before


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
    with pytest.raises(DamagedCheckpointError, match=r"remove it to continue after epoch-0001\.pt"):
        train(tiny_run(tmp_path, "--epochs=2", "--scheduler=constant"), resume=True)
    last.unlink()
    assert train(tiny_run(tmp_path, "--epochs=2", "--scheduler=constant"), resume=True)["epochs"] == 2


def test_a_bad_configuration_leaves_a_run_as_it_is(straight):
    before = (straight / "metrics.csv").read_bytes()
    with pytest.raises(ConfigError, match="not a known method"):
        train(tiny_run(straight, "--method=nothing"), overwrite=True)
    assert (straight / "metrics.csv").read_bytes() == before


def test_input_size_that_is_not_the_data_s(tmp_path):
    with pytest.raises(ConfigError, match=r"input_size is \(3, 9, 9\), but that of the data is \(1, 16, 16\)"):
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
    with pytest.raises(UnwritableError, match="Permission denied; choose a writable folder"):
        train(tiny_run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


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


def test_divergence_is_said(tmp_path):
    with pytest.raises(DivergedError, match=r"the training loss of epoch 1 is nan; lower lr"):
        train(tiny_run(tmp_path, "--lr=1e30", "--method=human"))
    assert checkpoints.load(checkpoints.last_path(tmp_path)).epoch == 0


@pytest.mark.parametrize("alpha_lr", [1e-3, 1e-2, 1e-1, 1.0, 10.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_any_alpha_learning_rate_stays_finite_and_in_bounds(tmp_path, alpha_lr, momentum):
    options = [f"--alpha_lr={alpha_lr}", f"--alpha_momentum={momentum}", "--epochs=1", "--data.test_fraction=0.6"]
    train(tiny_run(tmp_path, *options, "--scheduler=constant", "--gmacs_weight=0"))
    last = rows(tmp_path)[-1]
    assert math.isfinite(float(last["train_loss"]))
    model = prepare_model(tiny_run(tmp_path), load_data(tiny_run(tmp_path).data)).model
    path = checkpoints.last_path(tmp_path)
    checkpoints.restore_model(model, checkpoints.load(path), path)
    for resolution in dynpool.resolutions(model).values():
        assert all(math.isfinite(a) and 0.5 <= a <= 8 for a in resolution.alpha.tolist())
        assert resolution.size is not None
        assert all(2 <= n <= 32 for n in resolution.size)


def test_bf16_and_channels_last(tmp_path):
    script = (
        "import sys\nfrom dynpool.training.config import RunConfig\n"
        "from dynpool.training.config_file import load_config\n"
        "from dynpool.training.loop import train\nprint(train(load_config(RunConfig, None, sys.argv[1:])[0])['epochs'])"
    )
    options = ["--precision=bf16", "--channels_last=true", "--epochs=1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", script, *TINY_OPTIONS, *options], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
    assert math.isfinite(float(rows(tmp_path)[-1]["train_loss"]))


def test_learning_rates():
    def rates(steps, **options):
        factor = learning_rate_factor(RunConfig(epochs=4, **options), 10)
        return [round(factor(s), 4) for s in steps]

    assert rates([0, 20, 40]) == [1.0, 0.5, 0.0]
    assert rates([0, 39], scheduler="constant") == [1.0, 1.0]
    early = learning_rate_factor(RunConfig(epochs=4), 10, part=0.5)
    assert [round(early(step), 4) for step in (0, 10, 20, 39)] == [1.0, 0.5, 0.0, 0.0]
    resting = learning_rate_factor(RunConfig(epochs=4, warmup_epochs=2), 10, part=0.25)
    assert [resting(step) for step in (9, 10, 19)] == [0.5, 0.0, 0.0]  # a longer warm-up does not wake it again
    assert rates([0, 19, 20, 29, 30], scheduler="multistep") == [1.0, 1.0, 0.1, 0.1, 0.01]
    assert rates([0, 4, 9, 10], scheduler="constant", warmup_epochs=1) == [0.1, 0.5, 1.0, 1.0]
