"""Files that a new run replaces are kept until it has begun, whenever a process is killed in between."""

import shutil
from pathlib import Path

import pytest

from dynpool.training.errors import ConfigError, DiskFullError
from dynpool.training.loop import train
from dynpool.training.replaced import Replaced
from tests.dynpool.training.runs import rows, tiny_run

OLD = {"config.yaml": "old", "checkpoints/last.pt": "weights", "tracking/a/b": "events"}
NEW = {"config.yaml": "new", "i_min.jsonl": "new"}


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def refused(replaced: Replaced, folder: Path) -> None:
    with replaced.until_begun():
        write(folder, NEW)
        raise ConfigError("refused")


def replaced_and_put_back(replaced: Replaced, folder: Path) -> None:
    replaced.set_aside()
    write(folder, NEW)
    replaced.put_back()


@pytest.fixture
def replaced(tmp_path):
    def own():
        names = ("config.yaml", "checkpoints/last.pt", "tracking", "i_min.jsonl")
        return [path for path in map(tmp_path.joinpath, names) if path.exists()]

    write(tmp_path, OLD | {"notes.txt": "mine"})
    return Replaced(tmp_path, own)


def test_files_are_put_back_in_place_of_those_of_a_run_that_is_refused(replaced, tmp_path):
    replaced.set_aside()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "config.yaml").exists()
    with pytest.raises(ConfigError):
        refused(replaced, tmp_path)
    assert content(tmp_path) == OLD | {"notes.txt": "mine"}
    replaced.put_back()
    assert content(tmp_path) == OLD | {"notes.txt": "mine"}


def test_files_are_gone_once_the_new_run_has_begun(replaced, tmp_path):
    replaced.set_aside()
    with replaced.until_begun():
        write(tmp_path, {"config.yaml": "new"})
    assert content(tmp_path) == {"config.yaml": "new", "notes.txt": "mine"}


@pytest.mark.parametrize("call", range(1, 8))
def test_a_process_killed_between_two_moves_loses_nothing(replaced, tmp_path, monkeypatch, call):
    """Killed while files are set aside, while the new run is refused, or while they are put back."""
    calls = iter(range(1, 100))
    original = Path.replace

    def killed(self, target):
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replaced_and_put_back(replaced, tmp_path)
    monkeypatch.undo()
    replaced.put_back()
    assert content(tmp_path) == OLD | {"notes.txt": "mine"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    train(tiny_run(run, "--epochs=1"))
    return run


REFUSED = [
    ("--optimizer.name=adamww", "did you mean 'adamw'"),
    ("--latency.budget=1e-9", "latency.budget"),
    ("--track=[tensorboard]", "tensorboard cannot be started: no"),
]


@pytest.mark.parametrize(("option", "message"), REFUSED)
def test_a_run_that_is_refused_late_leaves_the_one_that_it_would_replace(
    finished, tmp_path, monkeypatch, option, message
):
    def refuse(*args, **options):
        raise RuntimeError("no")

    monkeypatch.setattr("dynpool.training.trackers.Trackers._start", refuse)
    monkeypatch.setattr("dynpool.training.trackers.check_trackers", lambda config: None)
    monkeypatch.setattr("dynpool.training.loop.check_trackers", lambda config: None)
    shutil.copytree(finished, tmp_path / "run")
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    options = ("--epochs=1", "--alpha_until=0.5", "--latency.configurations=5", "--latency.repeats=1", option)
    with pytest.raises(ConfigError, match=message):
        train(tiny_run(tmp_path / "run", *options), overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files
    with pytest.raises(ConfigError, match=message):
        train(tiny_run(tmp_path / "new", *options))
    train(tiny_run(tmp_path / "new", "--epochs=1"))  # nothing is in its way
    assert len(rows(tmp_path / "new")) == 2


def test_a_disk_that_fills_while_a_run_begins_leaves_the_one_that_it_would_replace(finished, tmp_path, monkeypatch):
    def full(*args):
        raise DiskFullError("no space left")

    run = tmp_path / "run"
    shutil.copytree(finished, run)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr("dynpool.training.run_folder.RunFolder.write_method", full)
    with pytest.raises(DiskFullError):
        train(tiny_run(run, "--epochs=2"), overwrite=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
