"""The epochs of a run: rates of its steps, what it learns and leaves, and its end where the loss is not finite."""

import csv
import json
import math
import subprocess
import sys

import pytest
import torch
import yaml

import dynpool
from dynpool.analysis.tracking.tracker import IMinTracker
from dynpool.training import checkpoint as checkpoints
from dynpool.training.config import RunConfig
from dynpool.training.data import load_data
from dynpool.training.errors import DivergedError
from dynpool.training.loop import prepare_model, train
from dynpool.training.run import learning_rate_factor
from dynpool.training.run_folder import COLUMNS
from tests.dynpool.training.runs import TINY_OPTIONS, assert_same_run, rows, tiny_run


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


def test_divergence_is_said(tmp_path):
    with pytest.raises(DivergedError, match=r"the training loss of epoch 1 is nan; lower lr"):
        train(tiny_run(tmp_path, "--lr=1e30", "--method=human"))
    assert checkpoints.load(checkpoints.last_path(tmp_path)).epoch == 0


@pytest.mark.parametrize(("alpha_lr", "momentum"), [(1e-3, 0.9), (0.1, 0.0), (10.0, 0.0), (10.0, 0.9)])
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
    early = learning_rate_factor(RunConfig(epochs=4), 10, fraction=0.5)
    assert [round(early(step), 4) for step in (0, 10, 20, 39)] == [1.0, 0.5, 0.0, 0.0]
    resting = learning_rate_factor(RunConfig(epochs=4, warmup_epochs=2), 10, fraction=0.25)
    assert [resting(step) for step in (9, 10, 19)] == [0.5, 0.0, 0.0]  # a longer warm-up does not wake it again
    assert rates([0, 19, 20, 29, 30], scheduler="multistep") == [1.0, 1.0, 0.1, 0.1, 0.01]
    assert rates([0, 4, 9, 10], scheduler="constant", warmup_epochs=1) == [0.1, 0.5, 1.0, 1.0]
