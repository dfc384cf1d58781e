"""Whatever happens to the files of a run: it continues to the same result, or one error says what is wrong."""

import dataclasses
import json
import logging
import random
import shutil
from pathlib import Path

import pytest
import torch

from dynpool.analysis.comparison.read_runs import read_run
from dynpool.training import checkpoint as checkpoints
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.errors import CheckpointError, ConfigError, DamagedCheckpointError, RunFolderError, TrainingError
from dynpool.training.files import write_text
from dynpool.training.loop import train
from dynpool.training.run_folder import RunFolder

OPTIONS = [
    "--name=tiny", "--model.options.widths=[4,6]", "--data.variant=tile", "--data.resolution=8", "--epochs=2",
    "--data.test_fraction=0.9", "--lr=0.05", "--alpha_lr=1", "--threads=1", "--device=cpu", "--checkpoint_every=1",
]  # fmt: skip
VARIES = ("seconds", "images_per_second", "peak_memory", "checksum")
LAST = "checkpoints/last.pt"
FILES = (
    "config.yaml", "environment.json", "method.txt", "metrics.csv", "i_min.jsonl", LAST, "checkpoints/epoch-0001.pt",
    "done.json",
)  # fmt: skip


def run_of(out: Path) -> RunConfig:
    return load_config(RunConfig, None, [*OPTIONS, "--out", str(out)])[0]


def result(out: Path):
    """What a run came to, without what differs from one time to the next."""
    saved = checkpoints.load(checkpoints.last_path(out))
    rows = [{k: v for k, v in row.items() if k not in VARIES} for row in saved.rows or ()]
    files = (out / "metrics.csv").read_text().count("\n"), (out / "i_min.jsonl").read_text()
    figures = json.loads((out / "done.json").read_text())
    weights = {name: value.numpy().tobytes() for name, value in saved.model.items()}
    assert read_run(out).verified
    return rows, files, figures["test_accuracy"], figures["epochs"], weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    train(run_of(out))
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flip(content: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(content)
    flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def foreign(content: bytes, rng: random.Random) -> bytes:
    return b'["a list", 1]\n'


@pytest.mark.parametrize("damage", [cut, flip, foreign, None, "removed"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_changes_no_result(finished, run, name, damage):
    """None: a folder has the name of the file. Half of the runs are finished, the others lack done.json."""
    rng = random.Random(f"{name} {damage}")
    path = run / name
    for unfinished in (False, True) if damage in (cut, flip) else (False,):
        shutil.rmtree(run)
        shutil.copytree(finished, run)
        if unfinished:
            (run / "done.json").unlink()
        if not path.exists():
            continue
        if callable(damage):
            path.write_bytes(damage(path.read_bytes(), rng))
        else:
            path.unlink()
            if damage is None:
                path.mkdir()
        refused = ""
        try:
            train(run_of(run), resume=True)
        except TrainingError as error:
            refused = str(error)
        if refused:
            assert str(run) in refused
            assert "\n" not in refused
            continue
        if not (run / LAST).exists():  # a user may remove checkpoints of finished runs
            shutil.copy(finished / LAST, run / LAST)
        assert result(run) == result(finished)


@pytest.mark.parametrize("name", ["metrics.csv", "i_min.jsonl"])
@pytest.mark.parametrize("unfinished", [False, True])
def test_a_changed_digit_is_said_and_put_right(finished, run, caplog, name, unfinished):
    if unfinished:
        (run / "done.json").unlink()
    text = (run / name).read_text()
    at = text.index(".", len(text) // 2) + 1
    (run / name).write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])
    with caplog.at_level(logging.WARNING):
        train(run_of(run), resume=True)
    assert f"{name} was missing or damaged; it is restored from the checkpoint" in caplog.text
    assert (run / name).read_text() == text
    assert result(run) == result(finished)


def test_a_finished_run_without_its_checkpoints_is_kept_but_cannot_be_repaired(finished, run, caplog):
    for path in RunFolder(run).checkpoints():
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert train(run_of(run), resume=True)["epochs"] == 2
    assert "removed since the run ended: " in caplog.text
    (run / "metrics.csv").unlink()
    with pytest.raises(RunFolderError, match=r"damaged or missing since the run ended: metrics\.csv.*--overwrite"):
        train(run_of(run), resume=True)
    (run / "done.json").unlink()
    shutil.copy(finished / "metrics.csv", run)
    with pytest.raises(RunFolderError, match="holds a run without a checkpoint: start again with --overwrite"):
        train(run_of(run), resume=True)


def as_an_earlier_version_wrote_it(run: Path) -> None:
    """No checksums, no digests, checkpoints without rows and lines."""
    done = json.loads((run / "done.json").read_text())
    write_text(run / "done.json", json.dumps({k: v for k, v in done.items() if k not in ("files", "checksum")}))
    lines = (run / "metrics.csv").read_text().splitlines()
    write_text(run / "metrics.csv", "".join(line.rpartition(",")[0] + "\n" for line in lines))
    for path in RunFolder(run).checkpoints():
        content = torch.load(path, weights_only=True)
        torch.save({k: v for k, v in content.items() if k not in ("rows", "lines", "partial")}, path)


def test_runs_of_an_earlier_version_are_read_and_said_to_be_unverified(finished, run, caplog):
    as_an_earlier_version_wrote_it(run)
    assert not read_run(run).verified
    with caplog.at_level(logging.WARNING):
        assert train(run_of(run), resume=True)["epochs"] == 2
        (run / "done.json").unlink()
        train(run_of(run), resume=True)
    assert caplog.text.count("not verified") == 2
    assert (run / "metrics.csv").read_text() == (finished / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("metrics.csv", lambda text: text[:-60] + "\n", "has epochs"),
        ("metrics.csv", lambda text: text.replace("\n1,", "\none,"), "line 3: epoch is 'one'"),
        ("metrics.csv", lambda text: "", r"metrics\.csv is empty; start again with --overwrite"),
        ("i_min.jsonl", lambda text: text.replace('{"step": 1', '{"step; 1'), r"i_min\.jsonl: .*no line for epoch 1"),
        ("i_min.jsonl", lambda text: "", "no line for epoch 0"),
    ],
)
def test_damage_to_a_run_of_an_earlier_version_is_named(run, name, change, message):
    as_an_earlier_version_wrote_it(run)
    (run / "done.json").unlink()
    (run / name).write_text(change((run / name).read_text()))
    with pytest.raises(RunFolderError, match=message):
        train(run_of(run), resume=True)


def group_options(content):
    del content["optimizer"]["param_groups"][0]["momentum"]


def momentum_of_another_shape(content):
    for state in content["optimizer"]["state"].values():
        state["momentum_buffer"] = torch.zeros(3)


def alphas(value):
    def change(content):
        for name, tensor in content["model"].items():
            if name.endswith("alpha"):
                tensor.fill_(value)

    return change


def doubles(content):
    content["model"] = {k: v.double() if v.is_floating_point() else v for k, v in content["model"].items()}


def entry(name, value):
    def change(content):
        content[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["optimizer"]["param_groups"].pop(), "optimiser state belongs to another run: its"),
        (group_options, "its groups have other options"),
        (momentum_of_another_shape, r"momentum_buffer of parameter 0 is \(3,\), not"),
        (lambda content: content["optimizer"]["state"].update({99: {}}), "it has a state of parameter 99, but"),
        (entry("optimizer", {"state": 1}), "'optimizer' is not an optimiser's state"),
        (entry("scheduler", {}), "scheduler state belongs to another run: it lacks"),
        (lambda content: content["scheduler"].update(last_epoch=3), "it is of step 3, not"),
        (entry("rng", {"cpu": torch.zeros(4, dtype=torch.uint8)}), "not the state of a generator of cpu"),
        (entry("rng", {"cpu": torch.get_rng_state(), "foo": torch.get_rng_state()}), "'rng' is not states of generat"),
        (entry("config", "hello"), "'config' is not a configuration"),
        (entry("model", None), "'model' is not a state dict"),
        (entry("epoch", "2"), "'epoch' is not a whole number"),
        (entry("epoch", 99), "its rows do not match its epochs"),
        (entry("lines", ["a"]), "its lines do not match its epochs"),
        (entry("partial", {"step": 1}), "'partial' is not the state of an epoch"),
        (alphas(float("nan")), r"the alpha of \d is \(nan, nan\)"),
        (alphas(-3.0), r"the alpha of \d is \(-3\.0, -3\.0\)"),
        (doubles, "of float64, not .* of float32"),
    ],
)
def test_a_whole_checkpoint_with_a_foreign_entry_is_refused(run, change, message):
    path = checkpoints.last_path(run)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    (run / "done.json").unlink()
    with pytest.raises(CheckpointError, match=message) as caught:
        train(run_of(run), resume=True)
    assert str(path) in str(caught.value)


def test_a_kept_checkpoint_that_is_damaged_is_not_passed_over(run):
    path = checkpoints.epoch_path(run, 1)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        DamagedCheckpointError, match=r"epoch-0001\.pt: it has changed since the run wrote it; remove it"
    ):
        train(run_of(run), resume=True)
    path.unlink()
    assert train(run_of(run), resume=True)["epochs"] == 2


def test_what_a_killed_process_was_writing_is_removed(run):
    for folder in (run, run / "checkpoints"):
        (folder / ".last.pt.abc.part").write_bytes(b"half")
    train(run_of(run), resume=True)
    assert not list(run.rglob("*.part"))


def test_a_config_of_a_run_that_was_changed_is_not_resumed(run):
    config = run / "config.yaml"
    whole = config.read_text()
    config.write_text(whole[: len(whole) - 20])
    with pytest.raises(ConfigError, match=r"config\.yaml is damaged or was edited: .*remove that line"):
        load_config(RunConfig, config, ["--resume"])
    config.write_text(whole.partition("\n")[2])  # a user's own changes need no checksum
    assert load_config(RunConfig, config, ["--resume"])[0].epochs == 2
    config.write_text(whole.replace("epochs: 2", "epochs: 3"))  # nor do new runs
    assert load_config(RunConfig, config)[0].epochs == 3


def test_another_number_of_threads_is_told(run, caplog):
    (run / "done.json").unlink()
    train(dataclasses.replace(run_of(run), threads=2), resume=True)
    assert f"{run}: threads is 2, and was 1 before: the last bits of the results depend on it" in caplog.text
    caplog.clear()
    (run / "done.json").unlink()
    train(dataclasses.replace(run_of(run), threads=2), resume=True)
    assert "threads" not in caplog.text
