"""Experiment trackers, through accelerate's: a run's figures after every epoch, and its pictures at the end."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from dynpool.analysis.common.axis_names import along_axes, axis_names

from .config import RunConfig
from .config_identity import flatten, to_dict
from .errors import ConfigError
from .files import make_folder, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Trackers", "check_trackers"]

log = logging.getLogger(__name__)

PROJECT = "dynpool"
FIGURES = (
    *("train_loss", "task_loss", "gmacs_loss", "train_accuracy", "test_loss", "test_accuracy", "gmacs"),
    *(column for name in ("i_min", "i_max_local") for axes in (2, 3, 1) for column in along_axes(name, axes)),
    *("unproductive", "lr", "alpha_lr", "images_per_second"),
    "peak_memory",
    "latency_ms",
    "predicted_ms",
    "train_miou",
    "test_miou",
)


def check_trackers(config: RunConfig) -> None:
    """Check that the trackers of a run are there.

    Raises:
        ConfigError: if the package of one is not installed.
    """
    there = {str(kind.value) for kind in get_available_trackers()} if config.track else set()
    for name in config.track:
        if name not in there:
            raise ConfigError(f"track names {name!r}, which is not installed: pip install {name}")


class Trackers:
    """The trackers of a run, in its main process; a context, which ends them however the run ends.

    Files go to the folder tracking/ of the run, unless a tracker's own settings (its environment variables) say where.
    A resumed run continues the tracker's run, where the tracker can.

    Args:
        config: of the run; `track` names the trackers.
        folder: of the run.
        resumed: whether the run continues an earlier one.

    Raises:
        ConfigError: if the package of a tracker is not installed, or the tracker cannot be started.
    """

    def __init__(self, config: RunConfig, folder: Path, *, resumed: bool) -> None:
        self.folder, self.files = folder, folder / "tracking"
        self.trackers: list[GeneralTracker] = []
        if not config.track:
            return
        check_trackers(config)
        from dynpool.analysis import compare_runs  # SciPy and matplotlib: seconds to import, which other runs save

        self.compare_runs = compare_runs
        make_folder(self.files)
        run = self._id(resumed=resumed)
        settings = {key: value for key, value in flatten(to_dict(config)).items() if value is not None}
        plain = {k: v if isinstance(v, (bool, int, float, str)) else json.dumps(v) for k, v in settings.items()}
        for name in config.track:
            try:
                self._start(name, config, run, plain, resumed=resumed)
            except Exception as error:  # of any kind: trackers have their own
                self.__exit__()
                said = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(f"track: {name} cannot be started: {said}") from error

    def _start(self, name: str, config: RunConfig, run: str, settings: Mapping[str, Any], *, resumed: bool) -> None:
        tracker = self._make(name, config, run, resumed=resumed)
        tracker.start()
        self.trackers.append(tracker)
        if name != "mlflow" or not resumed:  # MLflow refuses the parameters of a run a second time
            tracker.store_init_configuration(dict(settings))
        if name == "mlflow":
            write_text(self.files / "mlflow_run", tracker.tracker.info.run_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._each(lambda tracker: tracker.finish())

    def _each(self, action: Callable[[GeneralTracker], object]) -> None:
        """Do something with every tracker. One that fails is left out from then on: its outage must not end a run."""
        for tracker in list(self.trackers):
            try:
                action(tracker)
            except Exception:
                log.exception("%s: tracking by %s has failed and ends here; the run goes on", self.folder, tracker.name)
                self.trackers.remove(tracker)

    def _id(self, *, resumed: bool) -> str:
        """An identifier of the run, the same when it is resumed."""
        path = self.files / "run"
        if not (resumed and path.is_file()):
            write_text(path, uuid.uuid4().hex)
        return path.read_text()

    def _make(self, name: str, config: RunConfig, run: str, *, resumed: bool) -> GeneralTracker:
        kind = LOGGER_TYPE_TO_CLASS[name]
        if name == "wandb":
            return kind(PROJECT, name=config.name, id=run, resume="allow", group=config.method, dir=str(self.files))
        if name == "mlflow":
            earlier = self.files / "mlflow_run"
            run_id = earlier.read_text() if resumed and earlier.is_file() else None
            return kind(PROJECT, run_name=config.name, run_id=run_id)
        if name == "trackio":
            return kind(PROJECT, name=f"{config.name}-{run[:6]}", resume="allow", group=config.method)
        return kind(PROJECT, str(self.files))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log the figures of an epoch, its sizes included."""
        values = {name: row[name] for name in FIGURES if row.get(name) is not None and math.isfinite(row[name])}
        for name, size in (row.get("sizes") or {}).items():
            values |= {f"sizes/{name}/{axis}": n for axis, n in zip(axis_names(len(size)), size, strict=True)}
        self._each(lambda tracker: tracker.log(values, step=row["epoch"]))

    def pictures(self, epoch: int) -> None:
        """Log the pictures that the report of the run has, where accelerate's tracker takes pictures."""
        if self.trackers:
            figures = self.compare_runs([self.folder]).plot()
            self._each(lambda tracker: _log_pictures(tracker, figures, epoch))


def _log_pictures(tracker: GeneralTracker, figures: Mapping[str, Figure], epoch: int) -> None:
    if hasattr(tracker, "log_figure"):
        for name, figure in figures.items():
            tracker.log_figure(figure, f"{name}.png")
    elif hasattr(tracker, "log_images"):
        layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
        tracker.log_images({name: _pixels(figure) for name, figure in figures.items()}, step=epoch, **layout)


def _pixels(figure: Figure) -> np.ndarray:
    """The figure as one image (1, H, W, 3) of uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[None, ..., :3]
