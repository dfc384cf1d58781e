"""Trackers get the figures of a run, as their own files show; one that fails ends without the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynpool.training.errors import ConfigError
from dynpool.training.loop import train
from dynpool.training.run_folder import RunFolder
from dynpool.training.trackers import Trackers, check_trackers
from tests.dynpool.training.runs import rows, tiny_run

SHORT = ["--epochs=2", "--data.test_fraction=0.9"]


def scalars(folder: Path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(folder), size_guidance={"images": 0})
    found.Reload()
    return found


def test_tensorboard_has_the_figures_sizes_and_pictures_also_of_a_resumed_run(tmp_path):
    pytest.importorskip("tensorboard")
    config = tiny_run(tmp_path, *SHORT, "--track=[tensorboard]", "--scheduler=constant")
    train(config)
    train(tiny_run(tmp_path, *SHORT, "--track=[tensorboard]", "--scheduler=constant", "--epochs=3"), resume=True)
    found = scalars(tmp_path / "tracking" / "dynpool")
    table = rows(tmp_path)
    for name in ("test_accuracy", "gmacs", "i_min_h"):
        logged = {event.step: event.value for event in found.Scalars(name)}
        assert logged == pytest.approx({int(row["epoch"]): float(row[name]) for row in table})
    sizes = json.loads(table[-1]["sizes"])
    for name, (height, width) in sizes.items():
        assert found.Scalars(f"sizes/{name}/height")[-1].value == height
        assert found.Scalars(f"sizes/{name}/width")[-1].value == width
    assert {"sizes", "accuracy", "i_min"} <= set(found.Tags()["images"])


def test_the_same_run_with_and_without_tracking(tmp_path):
    pytest.importorskip("tensorboard")
    train(tiny_run(tmp_path / "a", *SHORT))
    train(tiny_run(tmp_path / "b", *SHORT, "--track=[tensorboard]"))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    train(tiny_run(tmp_path / "b", *SHORT), overwrite=True)
    assert not (tmp_path / "b" / "tracking").exists(), "of the run that was discarded"


def test_a_tracker_that_fails_ends_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker

    def fail(*_, **__):
        raise OSError("the server is gone")

    monkeypatch.setattr(TensorBoardTracker, "log", fail)
    train(tiny_run(tmp_path, *SHORT, "--track=[tensorboard]"))
    assert RunFolder(tmp_path).finished() is not None
    assert caplog.text.count("tracking by tensorboard has failed and ends here; the run goes on") == 1
    assert "the server is gone" in caplog.text


def test_a_tracker_that_cannot_be_started_is_named_and_those_before_it_are_ended(tmp_path, monkeypatch):
    ended = []

    class First(Quiet):
        def finish(self):
            ended.append(self)

    class Second(Quiet):
        def start(self):
            raise RuntimeError("no server\n at 127.0.0.1")

    monkeypatch.setattr("dynpool.training.trackers.check_trackers", lambda config: None)
    monkeypatch.setattr("dynpool.training.trackers.LOGGER_TYPE_TO_CLASS", {"tensorboard": First, "wandb": Second})
    with pytest.raises(ConfigError, match=r"^track: wandb cannot be started: no server at 127.0.0.1$"):
        Trackers(tiny_run(tmp_path, "--track=[tensorboard,wandb]"), tmp_path, resumed=False)
    assert len(ended) == 1


class Quiet:
    """A tracker that does nothing."""

    name = "quiet"

    def __init__(self, *_, **__):
        pass

    def start(self):
        pass

    def store_init_configuration(self, values):
        pass


@pytest.mark.parametrize("axes", [("length",), ("depth", "height", "width")])
def test_figures_and_sizes_have_the_axes_of_the_data(tmp_path, monkeypatch, axes):
    logged = {}

    class Noting(Quiet):
        def log(self, values, step):
            logged[step] = values

        def finish(self):
            pass

    monkeypatch.setattr("dynpool.training.trackers.check_trackers", lambda config: None)
    monkeypatch.setattr("dynpool.training.trackers.LOGGER_TYPE_TO_CLASS", {"tensorboard": Noting})
    fields = {f"{name}_{axis[0]}": n for name in ("i_min", "i_max_local") for n, axis in enumerate(axes, 3)}
    sizes = tuple(range(8, 8 + len(axes)))
    with Trackers(tiny_run(tmp_path, "--track=[tensorboard]"), tmp_path, resumed=False) as trackers:
        trackers.epoch({"epoch": 2, "sizes": {"pool": sizes}, **fields})
    assert logged == {2: fields | {f"sizes/pool/{axis}": n for axis, n in zip(axes, sizes, strict=True)}}


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("dynpool.training.trackers.get_available_trackers", list)
    config = tiny_run(tmp_path / "run", "--track=[mlflow]")
    with pytest.raises(ConfigError, match=r"track names 'mlflow', which is not installed: pip install mlflow"):
        train(config)
    assert not (tmp_path / "run" / "config.yaml").exists()
    with pytest.raises(ConfigError, match="track"):
        tiny_run(tmp_path, "--track=[tensorboard,tensorboard]")
    check_trackers(tiny_run(tmp_path))


def test_without_trackers_nothing_is_made(tmp_path):
    with Trackers(tiny_run(tmp_path), tmp_path, resumed=False) as trackers:
        trackers.epoch({"epoch": 0})
        trackers.pictures(0)
    assert not list(tmp_path.iterdir())


OFFLINE = {
    "wandb": ({"WANDB_MODE": "offline"}, "tracking/wandb/offline-run-*/run-*.wandb"),
    "mlflow": ({"MLFLOW_TRACKING_URI": "sqlite:///{folder}/mlflow.db"}, "mlflow.db"),
    "trackio": ({"TRACKIO_DIR": "{folder}/trackio"}, "trackio/*.db"),
}


@pytest.mark.parametrize("name", OFFLINE)
def test_other_trackers_write_their_files_offline(tmp_path, name):
    pytest.importorskip(name)
    environment, written = OFFLINE[name]
    code = (
        "import os, sys\n"
        f"os.environ |= { ({key: value.format(folder=tmp_path) for key, value in environment.items()})!r}\n"
        "from pathlib import Path\n"
        "from dynpool.training.loop import train\n"
        "from tests.dynpool.training.runs import tiny_run\n"
        f"run = lambda *more: tiny_run(Path({str(tmp_path)!r}), *{SHORT!r}, '--track=[{name}]', *more)\n"
        "train(run('--scheduler=constant'))\n"
        "train(run('--scheduler=constant', '--epochs=3'), resume=True)\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(  # some write to the working directory, too
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert list(tmp_path.glob(written))
    assert len(rows(tmp_path)) == 4
