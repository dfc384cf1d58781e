"""Reads run folders: the configuration and one typed row per epoch."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dynpool.common.archives import DamagedArchiveError, check_archive
from dynpool.size_math import AXES, Size

from ..common.checksums import file_digest, is_intact, text_is_intact
from ..common.metric import Metric
from .examples import Examples, read_examples
from .metrics_table import Epoch, read_metrics, read_text

__all__ = ["Run", "find_runs", "read_run"]


REQUIRED_KEYS = ("method", "seed", "input_size", "epochs")


@dataclass(frozen=True, kw_only=True)
class Run:
    """The contents of one run folder. `history` holds its epochs in order, at least one of them trained.

    `grid_point` names the settings by which it differs from other runs of the same method and seed in a comparison.
    `gmacs_budget` is the target for its GMACs, None if it had none; `matches` is the method whose cost that was, None
    if it was a number. `validation` is the part of the training images that its figures are measured on, a fraction
    or a number of images, None if they are those on test images. `verified` is False if an earlier version wrote the
    rows, without checksums. `examples` are the predictions of segmentation, None of other runs and of unfinished ones.
    """

    folder: Path
    name: str
    method: str
    grid_point: str
    seed: int
    input_size: Size
    epochs_planned: int
    gmacs_budget: float | None
    matches: str | None
    validation: float | None
    config: Mapping[str, object]
    history: tuple[Epoch, ...]
    notes: tuple[str, ...]
    verified: bool
    examples: Examples | None = None

    @property
    def last(self) -> Epoch:
        """The last finished epoch, whose figures count as the run's."""
        return self.history[-1]

    @property
    def metric(self) -> Metric:
        """The figure that the run is judged by."""
        return self.last.metric

    @property
    def trained(self) -> tuple[Epoch, ...]:
        """The trained epochs: all rows but that of the initial state."""
        return tuple(row for row in self.history if row.epoch > 0)

    @property
    def finished(self) -> bool:
        """True if every planned epoch has a row."""
        return self.last.epoch >= self.epochs_planned

    @property
    def group(self) -> str:
        """The method and, if it has several, the grid point: the same for runs that differ only in their seed."""
        return f"{self.method} {self.grid_point}".rstrip()

    @property
    def label(self) -> str:
        """A name for the run, such as 'human, seed 0'."""
        return f"{self.group}, seed {self.seed}"


def find_runs(folders: Sequence[Path | str]) -> list[Path]:
    """The run folders among `folders`, with the folder of a comparison replaced by the runs directly inside it.

    Raises:
        FileNotFoundError: if a folder does not exist.
        ValueError: if `folders` is empty or a single path, or if one of them is a file, holds no run or is given twice.
    """
    if isinstance(folders, (str, Path)):
        raise ValueError(f"run_folders must be a list of folders, got the single path {str(folders)!r}")
    listed = list(folders) if isinstance(folders, Iterable) else [folders]
    if not isinstance(folders, Iterable) or not all(isinstance(folder, (str, Path)) for folder in listed):
        raise TypeError(f"run_folders must be a list of str or paths, got {folders!r}")
    found: list[Path] = []
    for folder in map(Path, listed):
        if not folder.exists():
            raise FileNotFoundError(f"{folder}: no such run folder")
        if not folder.is_dir():
            raise ValueError(f"{folder}: a file, not a run folder")
        if (folder / "config.yaml").exists() or (folder / "metrics.csv").exists():
            found.append(folder)
            continue
        inside = _runs_inside(folder)
        if not inside:
            raise ValueError(f"{folder}: not a run folder: no config.yaml, no metrics.csv and no run folders inside")
        begun = [run for run in inside if not _has_epoch(run)]
        if begun and len(begun) < len(inside):
            names = ", ".join(run.name for run in begun)
            warnings.warn(f"{folder}: runs in it without a finished epoch are left out: {names}", stacklevel=3)
            inside = [run for run in inside if run not in begun]
        found.extend(inside)
    for folder in map(Path, listed):
        if left_out := [path.parent.name for path in sorted(folder.glob("*/comparison.yaml"))]:
            said = f"{folder}: comparisons in it are left out, name them too: {', '.join(left_out)}"
            warnings.warn(said, stacklevel=3)
    if not found:
        raise ValueError("run_folders must not be empty: give at least one run folder")
    seen: set[Path] = set()
    for folder in found:
        if folder.resolve() in seen:
            raise ValueError(f"{folder}: this run folder is given twice")
        seen.add(folder.resolve())
    return found


def _has_epoch(run: Path) -> bool:
    """Whether a run has finished an epoch, or something else is wrong with its metrics."""
    if (run / "done.json").exists():
        return True
    try:
        lines = (run / "metrics.csv").read_bytes().count(b"\n")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return lines not in (1, 2)  # the header, and epoch 0


def _runs_inside(folder: Path) -> list[Path]:
    """The run folders in a folder by name, numbers by their value: 16 before 128."""
    return sorted((path.parent for path in folder.glob("*/config.yaml")), key=lambda run: _by_value(run.name))


def _by_value(name: str) -> list[str | int]:
    """A sort key of a name: text and whole numbers in turn."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_run(folder: Path) -> Run:
    """The run in `folder`, from its config.yaml and metrics.csv.

    A last line without a newline or with too few cells may be half-written: it is skipped, with a note. If an epoch has
    several rows (a resumed run), the last counts, with a note. Rows and configuration are checked against their
    checksums, and the files of a finished run against the SHA-256 in its done.json.

    Raises:
        FileNotFoundError: if the folder or one of the two files is missing.
        ValueError: if a file is damaged or not that of a run, or no epoch is finished; the message names the folder and
            the reason.
    """
    if folder.is_file():
        raise ValueError(f"{folder}: a file, not a run folder")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such run folder")
    inside = [] if (folder / "config.yaml").exists() else _runs_inside(folder)
    if inside:
        names = ", ".join(run.name for run in inside)
        raise ValueError(f"{folder}: a comparison, not a run: name one of the runs in it: {names}")
    config = _read_config(folder)
    notes: list[str] = []
    history, verified = read_metrics(folder, notes)
    _compare_with_done(folder, notes)
    if not history or history[-1].epoch < 1:
        raise ValueError(f"{folder}: metrics.csv has no finished epoch yet")
    method = str(config["method"])
    seed = _whole(folder, "seed", config["seed"], lowest=None)
    epochs = _whole(folder, "epochs", config["epochs"], lowest=1)
    return Run(
        folder=folder,
        name=str(config.get("name") or folder.name),
        method=method,
        grid_point=str(config.get("grid_point") or ""),
        seed=seed,
        input_size=_input_size(folder, config["input_size"], history),
        epochs_planned=epochs,
        gmacs_budget=_budget(folder, config.get("gmacs_budget")),
        matches=_matches(config.get("gmacs_budget")),
        validation=_validation(folder, config.get("data")),
        config=config,
        history=tuple(history),
        notes=tuple(notes),
        verified=verified,
        examples=read_examples(folder),
    )


def _read_config(folder: Path) -> dict[str, object]:
    text = read_text(folder, "config.yaml")
    if text_is_intact(text) is False:
        raise ValueError(
            f"{folder}: config.yaml is damaged or was edited: it does not match the checksum in its first line"
        )
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise ValueError(f"{folder}: config.yaml is damaged: {where}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{folder}: config.yaml holds {type(config).__name__}, not keys and values")
    missing = [key for key in REQUIRED_KEYS if config.get(key) is None]
    if missing:
        raise ValueError(f"{folder}: config.yaml is not that of a run: missing keys {', '.join(missing)}")
    return {str(key): value for key, value in config.items()}


def _whole(folder: Path, key: str, value: object, *, lowest: int | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or (lowest is not None and value < lowest):
        allowed = "a whole number" if lowest is None else f"a whole number of at least {lowest}"
        raise ValueError(f"{folder}: config.yaml: {key} is {value!r}, must be {allowed}")
    return value


def _budget(folder: Path, value: object) -> float | None:
    number = value.get("gmacs") if isinstance(value, Mapping) else value
    if number is None and value is None:
        return None
    return _positive(folder, "gmacs_budget", number)


def _matches(value: object) -> str | None:
    return str(value.get("match")) if isinstance(value, Mapping) else None


def _validation(folder: Path, data: object) -> float | None:
    value = data.get("validation") if isinstance(data, Mapping) else None
    return None if value is None else _positive(folder, "data.validation", value)


def _positive(folder: Path, key: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf:
        return value
    raise ValueError(f"{folder}: config.yaml: {key} is {value!r}, must be null or a number above 0")


def _input_size(folder: Path, value: object, history: Sequence[Epoch]) -> Size:
    axes = len(history[-1].i_min)
    whole = isinstance(value, (list, tuple)) and all(isinstance(item, int) and item > 0 for item in value)
    if isinstance(value, (list, tuple)) and whole and len(value) == 1 + axes:
        return tuple(map(int, value))
    letters, count = ", ".join(axis[0].upper() for axis in AXES[axes]), ("two", "three", "four")[axes - 1]
    raise ValueError(
        f"{folder}: config.yaml: input_size is {value!r}, must be [C, {letters}], {count} positive whole numbers"
    )


def _compare_with_done(folder: Path, notes: list[str]) -> None:
    """Check the files of a finished run against the digests in its done.json."""
    try:
        done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # the run goes on: its checkpoint is what it continues after
        for path in sorted((folder / "checkpoints").glob("*.pt")):
            if not _is_whole(path):
                notes.append(f"checkpoints/{path.name} is damaged: the run cannot be continued after it")
        return
    except (OSError, ValueError):
        done = None
    if not isinstance(done, dict) or is_intact(done) is False:
        notes.append("done.json is damaged, so the other files could not be verified")
        return
    files = done.get("files")
    digests = files if isinstance(files, dict) else {}
    if digests.get("metrics.csv") not in (None, file_digest(folder / "metrics.csv")):
        raise ValueError(
            f"{folder}: metrics.csv is damaged: it does not match the SHA-256 in done.json; "
            "train the run with --resume to restore it from its checkpoint"
        )
    if digests.get("config.yaml") not in (None, file_digest(folder / "config.yaml")):
        notes.append("config.yaml was changed after the run ended")
    others = {folder / name for name in digests} - {folder / "metrics.csv", folder / "config.yaml"}
    for path in sorted(others):  # the figures of the run do not depend on them
        name = path.relative_to(folder).as_posix()
        if path.exists() and (not path.is_file() or file_digest(path) != digests[name]):
            notes.append(f"{name} is damaged: it does not match the SHA-256 in done.json")


def _is_whole(path: Path) -> bool:
    """Whether the records of a checkpoint, a zip file, match their checksums."""
    try:
        check_archive(path)
    except DamagedArchiveError:
        return False
    except FileNotFoundError:  # stopped.pt is removed when its epoch is finished
        pass
    return True
