"""The epochs of a run: rates of its steps, what it learns and leaves, and its end where the loss is not finite."""

import csv
import json
import math
import multiprocessing
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

import dynpool
from dynpool.analysis.tracking.tracker import IMinTracker
from dynpool.training import checkpoint as checkpoints
from dynpool.training.data import load_data
from dynpool.training.errors import DivergedError
from dynpool.training.loop import prepare_model, train
from dynpool.training.methods import prepare
from dynpool.training.optimizer import make_optimizer
from dynpool.training.restored import restored_model
from dynpool.training.run import Run
from dynpool.training.run_folder import COLUMNS
from tests.dynpool.training.image_folders import image_folder
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
    options = [
        "--model.name=timm:test_resnet",
        "--model.options={drop_rate: 0.5}",
        "--data.resolution=16",
        "--epochs=2",
    ]
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
    options += ["--model.options.widths=[4,6]", "--data.resolution=8"]
    done = subprocess.run(
        [sys.executable, "-c", script, *TINY_OPTIONS, *options], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
    assert math.isfinite(float(rows(tmp_path)[-1]["train_loss"]))


RECIPE = [
    "--optimizer.name=adamw", "--optimizer.decay_vectors=false", "--optimizer.clip_norm=1", "--optimizer.accumulate=2",
    "--lr=0.002", "--alpha_lr=0.01", "--loss=bce", "--label_smoothing=0.1", "--mixup=0.8", "--cutmix=1", "--ema=0.9",
    "--scheduler=multistep", "--milestones=[0.4,0.8]", "--epochs=3", "--batch_size=16", "--data.test_fraction=0.9",
]  # fmt: skip


def test_a_run_with_every_key_of_a_recipe_resumes_to_the_same_bits_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    train(tiny_run(tmp_path / "a", *RECIPE))
    config = tiny_run(tmp_path / "b", *RECIPE, "--save_steps=4")
    saved, write = [], checkpoints.save

    class KilledError(Exception):
        pass

    def save(checkpoint, *paths):
        write(checkpoint, *paths)
        saved.append((checkpoint.epoch, checkpoint.partial and checkpoint.partial.step))
        if saved[-1] == (1, 8):
            raise KilledError

    monkeypatch.setattr("dynpool.training.run.checkpoints.save", save)
    with pytest.raises(KilledError):
        train(config)
    monkeypatch.undo()
    assert saved == [(0, None), (0, 4), (0, 8), (1, None), (1, 4), (1, 8)], "an epoch has 12 steps"
    train(config, resume=True)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    one, two = (checkpoints.load(checkpoints.last_path(tmp_path / name)) for name in "ab")
    for name, value in one.trained.items():
        assert torch.equal(value, two.trained[name]), name


def test_learned_kernels_and_maps_resume_to_the_same_bits_and_stay_fixed_in_the_end(tmp_path):
    options = [
        "--method=njet+dynopool",
        "--njet.sigma=0.76",
        "--gmacs_weight=1000",
        "--kernel_lr=3",
        "--alpha_until=0.5",
        "--ema=0.9",
        "--model.options.widths=[4,6]",
    ]
    config = tiny_run(tmp_path / "a", *options)
    train(config)
    found = rows(tmp_path / "a")
    kernels = [json.loads(row["kernels"]) for row in found]
    assert kernels[0] == {"0": [7, 7], "4": [7, 7]}
    assert kernels[2] == kernels[3] == kernels[4] != kernels[0]
    assert [json.loads(row["kernel_maps"])["0"] for row in found] == [[16, 16]] * 5
    assert [float(row["kernel_lr"]) > 0 for row in found] == [True, True, True, False, False]
    saved = checkpoints.load(checkpoints.last_path(tmp_path / "a"))
    assert saved.ema is not None
    assert torch.equal(saved.ema["0.scale"], saved.model["0.scale"])
    train(tiny_run(tmp_path / "b", *options))
    (tmp_path / "b" / "done.json").unlink()
    checkpoints.epoch_path(tmp_path / "b", 1).replace(checkpoints.last_path(tmp_path / "b"))
    train(tiny_run(tmp_path / "b", *options), resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("where", ["_step", "_stop_if_asked"])
def test_processes_that_decode_images_end_with_a_run_that_fails(tmp_path, monkeypatch, where):
    def fails(self, *args):
        assert multiprocessing.active_children()
        raise ZeroDivisionError(where)

    monkeypatch.setattr(Run, where, fails)
    root = image_folder(tmp_path / "images", images=24)
    streamed = ("--data.name", "folder", "--data.root", str(root), "--data.stream=true", "--data.workers=1")
    plain = ("--data.resolution=8", "--data.variant=plain", "--data.normalise=imagenet", "--batch_size=4")
    with pytest.raises(ZeroDivisionError) as caught:
        train(tiny_run(tmp_path / "run", *streamed, *plain))
    assert not multiprocessing.active_children()  # although the traceback still refers to the loop
    assert caught.value.args == (where,)


def test_the_average_of_the_weights_is_tested_saved_and_restored(tmp_path):
    config = tiny_run(tmp_path, "--ema=0.8", "--epochs=1")
    train(config)
    saved = checkpoints.load(checkpoints.last_path(tmp_path))
    assert saved.ema is not None
    differ = {name for name, value in saved.ema.items() if not torch.equal(value, saved.model[name])}
    assert "0.weight" in differ
    assert not {name for name in differ if name.endswith("alpha")}
    model, _ = restored_model(tmp_path)
    assert torch.equal(model.state_dict()["0.weight"], saved.ema["0.weight"])
    images = load_data(config.data).test
    with torch.no_grad():
        correct = sum((model.eval()(x).argmax(1) == y).sum().item() for x, y in images.batches(128))
    assert correct / len(images) == pytest.approx(float(rows(tmp_path)[-1]["test_accuracy"]))


def test_parts_of_a_batch_give_its_gradient(tmp_path):
    """Of a network without batch norm, whose images do not see each other."""
    options = ["--model.name=tests.dynpool.training.runs:without_norm", "--model.options={}", "--epochs=1"]
    options += ["--precision=no", "--data.test_fraction=0.9", "--batch_size=64", "--data.variant=plain"]
    for parts in (1, 3):
        train(tiny_run(tmp_path / str(parts), *options, f"--optimizer.accumulate={parts}"))
    whole, split = (checkpoints.load(checkpoints.last_path(tmp_path / name)).model for name in "13")
    for name, value in whole.items():
        torch.testing.assert_close(split[name], value, rtol=1e-4, atol=1e-6)
    one, other = rows(tmp_path / "1")[-1], rows(tmp_path / "3")[-1]
    for column in ("train_loss", "task_loss", "gmacs_loss"):
        assert float(one[column]) == pytest.approx(float(other[column]), rel=1e-5)


def test_clipping_scales_the_gradient_of_the_weights_alone(tmp_path, monkeypatch):
    norms: dict[str, list[list[float]]] = {"free": [], "clipped": []}

    def keep_norms(name, optimizer):
        def before_step(*_):
            groups = [[p.grad.flatten() for p in group["params"]] for group in optimizer.param_groups]
            norms[name].append([torch.cat(group).norm().item() for group in groups])

        optimizer.register_step_pre_hook(before_step)
        return optimizer

    for name, clip in (("free", "null"), ("clipped", "0.01")):
        made = lambda *arguments, name=name: keep_norms(name, make_optimizer(*arguments))  # noqa: E731
        monkeypatch.setattr("dynpool.training.run.make_optimizer", made)
        train(tiny_run(tmp_path / name, "--epochs=1", "--lr=0", "--alpha_lr=0", f"--optimizer.clip_norm={clip}"))
    assert all(weights == pytest.approx(0.01, rel=1e-3) for weights, _ in norms["clipped"])
    assert all(weights > 0.1 for weights, _ in norms["free"])
    assert [alphas for _, alphas in norms["free"]] == [alphas for _, alphas in norms["clipped"]]


def test_the_term_of_the_sizes_is_not_computed_any_more_once_they_stay(tmp_path, monkeypatch):
    options = ("--epochs=2", "--alpha_until=0.5")
    calls = []

    def counted(model, config, size):
        prepared = prepare(model, config, size)
        original = prepared.penalty
        assert original is not None

        def penalty():
            calls.append(config.out)
            return original()

        return replace(prepared, penalty=penalty)

    monkeypatch.setattr("dynpool.training.loop.prepare", counted)
    train(tiny_run(tmp_path / "once", *options))
    once, steps = len(calls), len(calls) - 1
    monkeypatch.setattr(Run, "_penalty", lambda self: self.prepared.penalty())
    train(tiny_run(tmp_path / "always", *options))
    assert_same_run(tmp_path / "once", tmp_path / "always")
    assert len(calls) - once == 2 * steps
    assert float(rows(tmp_path / "once")[-1]["gmacs_loss"]) > 0


def test_sizes_stay_after_they_were_learned_also_with_an_optimiser_that_moves_at_a_rate_of_zero(tmp_path):
    options = ["--optimizer.name=cadafactor", "--lr=0.002", "--alpha_lr=0.01", "--alpha_until=0.5", "--epochs=4"]
    train(tiny_run(tmp_path, *options, "--data.test_fraction=0.9"))
    alphas = [row["alphas"] for row in rows(tmp_path)]
    assert alphas[0] != alphas[2] == alphas[3] == alphas[4]
