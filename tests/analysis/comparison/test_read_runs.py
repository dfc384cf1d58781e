"""Reading run folders: the figures as written, and clear errors for damaged or other folders."""

import json
import math
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dynpool.analysis.common.checksums import file_digest, with_checksum, with_heading
from dynpool.analysis.comparison.read_runs import find_runs, read_run

RUN = "{{method: human, seed: 1, epochs: 3, input_size: [1, 8, 8], gmacs_budget: {}}}"


def test_reads_figures_as_written(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run = read_run(write_run(tmp_path / "a", "dynopool", 2, epochs=3, planned=5))
    assert (run.method, run.seed, run.input_size, run.epochs_planned) == ("dynopool", 2, (1, 32, 32), 5)
    assert [row.epoch for row in run.history] == [0, 1, 2, 3]
    assert [row.epoch for row in run.trained] == [1, 2, 3]
    assert not run.finished
    assert run.history[0].train_loss is None
    assert run.history[0].sizes == {
        "input": (32, 32),
        "features.2": (16, 16),
        "features.5": (8, 8),
        "features.8": (4, 4),
    }
    assert run.history[0].i_min == (1 + 4 * 15, 1 + 4 * 15)
    assert run.last.i_max == (math.inf, math.inf)
    assert run.last.i_max_local == tuple(reach + 8 for reach in run.last.i_min)
    assert run.last.test_accuracy == pytest.approx(0.91)
    assert list(run.last.alphas) == list(run.last.strides) == ["features.2", "features.5", "features.8"]
    assert (run.gmacs_budget, run.last.behind_global) == (None, 0)
    assert read_run(write_run(tmp_path / "b", gmacs_budget=0.5)).gmacs_budget == 0.5
    assert run.notes == ()
    assert run.verified


def test_human_run_without_alphas(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run = read_run(write_run(tmp_path / "a", "human"))
    assert run.finished
    assert run.last.alphas == {}


def test_comparison_folder_stands_for_its_runs(comparison_folder: Path) -> None:
    (comparison_folder / "comparison.yaml").write_text("methods: [human]\n")
    names = [folder.name for folder in find_runs([comparison_folder])]
    assert names == [f"{method}-seed{seed}" for method in ("dynopool", "human") for seed in range(3)]


def test_runs_of_a_comparison_come_by_the_value_of_numbers_in_their_names(tmp_path: Path, write_run) -> None:
    names = ["human-size=16-seed9", "human-size=16-seed10", "human-size=128-seed0"]
    for name in reversed(names):
        write_run(tmp_path / name)
    assert [folder.name for folder in find_runs([tmp_path])] == names


def test_comparisons_beside_runs_are_named_as_left_out(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run = write_run(tmp_path / "alone")
    write_run(tmp_path / "together" / "human-seed0")
    (tmp_path / "together" / "comparison.yaml").write_text("methods: [human]\n")
    with pytest.warns(UserWarning, match=rf"^{tmp_path}: comparisons in it are left out, name them too: together$"):
        assert find_runs([tmp_path]) == [run]


def test_find_runs_rejects_folders_without_runs(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run = write_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="run_folders must not be empty"):
        find_runs([])
    with pytest.raises(ValueError, match="must be a list of folders, got the single path"):
        find_runs(str(run))
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such run folder"):
        find_runs([run, tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"empty: not a run folder"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(ValueError, match=r"config.yaml: a file, not a run folder"):
        find_runs([run / "config.yaml"])
    with pytest.raises(ValueError, match=r"a: this run folder is given twice"):
        find_runs([run, tmp_path / "empty" / ".." / "a"])


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv"])
def test_missing_file(tmp_path: Path, write_run: Callable[..., Path], name: str) -> None:
    folder = write_run(tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"a: incomplete run folder: {name} is missing"):
        read_run(folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        read_run(tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "config.yaml is damaged"),
        ("just words", "config.yaml holds str"),
        ("method: human\nseed: 1\n", "missing keys input_size, epochs"),
        ("{method: human, seed: one, epochs: 3, input_size: [1, 8, 8]}", "seed is 'one', must be a whole number"),
        ("{method: human, seed: 1, epochs: 0, input_size: [1, 8, 8]}", "epochs is 0, must be a whole number of at"),
        ("{method: human, seed: 1, epochs: 3, input_size: [8, 8]}", "input_size is .*must be .C, H, W."),
        ("{method: human, seed: 1, epochs: 3, input_size: [1, 8, x]}", "input_size is .*must be .C, H, W."),
        (RUN.format("0"), "gmacs_budget is 0, must be null or a number above 0"),
        (RUN.format("much"), "gmacs_budget is 'much', must be null"),
        (RUN.format("true"), "gmacs_budget is True, must be null"),
    ],
)
def test_damaged_config(tmp_path: Path, write_run: Callable[..., Path], text: str, message: str) -> None:
    folder = write_run(tmp_path / "damaged")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_run(folder)
    assert str(caught.value).startswith(str(folder))


def test_no_finished_epoch(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a", epochs=0, planned=4)
    with pytest.raises(ValueError, match=r"a: metrics.csv has no finished epoch yet"):
        read_run(folder)
    shutil.rmtree(folder)
    metrics = write_run(tmp_path / "a", epochs=1) / "metrics.csv"
    metrics.write_text(metrics.read_text()[:-3])
    with pytest.raises(ValueError, match=r"a: metrics.csv has no finished epoch yet"):
        read_run(folder)


def test_damaged_heading_of_a_config(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a", epochs=1)
    text = with_heading((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(text)
    assert read_run(folder).seed == 0
    (folder / "config.yaml").write_text(text.replace("seed: 0", "seed: 8"))
    with pytest.raises(ValueError, match=r"a: config\.yaml is damaged or was edited"):
        read_run(folder)


def test_files_of_a_finished_run_are_compared_with_its_digests(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a", epochs=3)
    files = {name: file_digest(folder / name) for name in ("config.yaml", "metrics.csv")}
    done = json.dumps(with_checksum({"epochs": 3, "files": files}))
    (folder / "done.json").write_text(done)
    assert read_run(folder).notes == ()
    (folder / "done.json").write_text(done.replace('"epochs": 3', '"epochs": 2'))
    assert "done.json is damaged" in read_run(folder).notes[0]
    (folder / "done.json").write_text(done)
    with (folder / "config.yaml").open("a") as file:
        file.write("# a word of mine\n")
    assert read_run(folder).notes == ("config.yaml was changed after the run ended",)
    rows = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(rows[:-1]))
    with pytest.raises(
        ValueError, match=r"metrics\.csv is damaged: it does not match the SHA-256 in done\.json.*--resume"
    ):
        read_run(folder)


def test_a_damaged_checkpoint_is_noted(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a", epochs=3)
    path = folder / "checkpoints" / "last.pt"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "weights")
    whole = path.read_bytes()
    assert read_run(folder).notes == ()
    path.write_bytes(whole.replace(b"weights", b"weighty"))
    assert read_run(folder).notes == ("checkpoints/last.pt is damaged: the run cannot be continued after it",)
    encrypted = whole.index(b"PK\x01\x02") + 8
    for damaged in (whole[:-9], whole[:encrypted] + b"\1" + whole[encrypted + 1 :]):
        path.write_bytes(damaged)
        assert "last.pt is damaged" in read_run(folder).notes[0]

    path.write_bytes(whole)
    files = {"checkpoints/last.pt": file_digest(path), "i_min.jsonl": file_digest(path)}
    (folder / "done.json").write_text(json.dumps(with_checksum({"epochs": 3, "files": files})))
    assert read_run(folder).notes == (), "what was removed since is not needed"
    path.write_bytes(whole + b"x")
    note = "checkpoints/last.pt is damaged: it does not match the SHA-256 in done.json"
    assert read_run(folder).notes == (note,)


def test_a_comparison_is_no_run(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    for name in ("human-seed0", "dynopool-seed0"):
        write_run(tmp_path / "comparison" / name)
    with pytest.raises(ValueError, match=r"comparison: a comparison, not a run: .* dynopool-seed0, human-seed0"):
        read_run(tmp_path / "comparison")


def test_runs_without_a_finished_epoch_are_left_out_of_a_folder(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run = write_run(tmp_path / "a")
    begun, empty = (write_run(tmp_path / name) for name in ("b", "c"))
    lines = (begun / "metrics.csv").read_text().splitlines(keepends=True)
    (begun / "metrics.csv").write_text("".join(lines[:2]))
    (empty / "metrics.csv").unlink()
    said = f"^{tmp_path}: runs in it without a finished epoch are left out: b, c$"
    with pytest.warns(UserWarning, match=said):
        assert find_runs([tmp_path]) == [run]
    assert find_runs([begun, run]) == [begun, run], "what was named is not left out"
