"""Reads run folders: the configuration and one typed row per epoch."""

from __future__ import annotations

import csv
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dynpool.size_math import Pair

from ..common.checksums import CHECKSUM, file_digest, is_intact, text_is_intact

__all__ = ["Epoch", "Run", "find_runs", "read_rows", "read_run"]


REQUIRED_COLUMNS = ("epoch", "test_accuracy", "gmacs", "sizes", "i_min_h", "i_min_w")
REQUIRED_KEYS = ("method", "seed", "input_size", "epochs")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One row of a run's metrics.csv. Row 0 is the state before training. A figure that the run did not write is None.

    Accuracies are fractions; sizes and receptive fields are (height, width) in pixels; `peak_memory` is in bytes.
    `strides` are the strides that the alphas give, in input pixels per output pixel. `behind_global` is the number of
    convolutions behind a global operation, which neither `i_min` nor `unproductive` counts.
    """

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    gmacs: float
    sizes: Mapping[str, tuple[int, int]]
    alphas: Mapping[str, Pair]
    strides: Mapping[str, Pair]
    i_min: Pair
    i_max: Pair | None
    i_max_local: Pair | None
    unproductive: int | None
    behind_global: int | None
    parameters: int | None
    seconds: float | None
    peak_memory: int | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """The contents of one run folder. `history` holds its epochs in order, at least one of them trained.

    `grid_point` names the settings by which it differs from other runs of the same method and seed in a comparison.
    `gmacs_budget` is the target for its GMACs, None if it had none. `verified` is False if an earlier version wrote the
    rows, without checksums.
    """

    folder: Path
    name: str
    method: str
    grid_point: str
    seed: int
    input_size: tuple[int, int, int]
    epochs_planned: int
    gmacs_budget: float | None
    config: Mapping[str, object]
    history: tuple[Epoch, ...]
    notes: tuple[str, ...]
    verified: bool

    @property
    def last(self) -> Epoch:
        """The last finished epoch, whose figures count as the run's."""
        return self.history[-1]

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
        found.extend(inside)
    if not found:
        raise ValueError("run_folders must not be empty: give at least one run folder")
    seen: set[Path] = set()
    for folder in found:
        if folder.resolve() in seen:
            raise ValueError(f"{folder}: this run folder is given twice")
        seen.add(folder.resolve())
    return found


def _runs_inside(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/config.yaml"))


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
    history, verified = _read_metrics(folder, notes)
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
        input_size=_input_size(folder, config["input_size"]),
        epochs_planned=epochs,
        gmacs_budget=_budget(folder, config.get("gmacs_budget")),
        config=config,
        history=tuple(history),
        notes=tuple(notes),
        verified=verified,
    )


def _text(folder: Path, name: str) -> str:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: incomplete run folder: {name} is missing")
    try:
        # newline="" keeps line ends: a last row without one may be incomplete.
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ValueError(f"{folder}: {name} is damaged: it is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{folder}: {name} cannot be read: {error.strerror or error}") from None


def _read_config(folder: Path) -> dict[str, object]:
    text = _text(folder, "config.yaml")
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
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf):
        return value
    raise ValueError(f"{folder}: config.yaml: gmacs_budget is {value!r}, must be null or a number above 0")


def _input_size(folder: Path, value: object) -> tuple[int, int, int]:
    if isinstance(value, (list, tuple)) and len(value) == 3:
        channels, height, width = value
        if all(isinstance(item, int) and item > 0 for item in value):
            return int(channels), int(height), int(width)
    raise ValueError(f"{folder}: config.yaml: input_size is {value!r}, must be [C, H, W], three positive whole numbers")


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
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except FileNotFoundError:  # stopped.pt is removed when its epoch is finished
        return True
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error, NotImplementedError):
        return False


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv as text, each checked. Raises the errors of `read_run`."""
    return [row.cells for row, _ in _checked_rows(folder, [])]


def _read_metrics(folder: Path, notes: list[str]) -> tuple[list[Epoch], bool]:
    """The rows by epoch, and whether all of them have checksums."""
    rows: dict[int, Epoch] = {}
    verified = True
    for row, epoch in _checked_rows(folder, notes):
        if epoch.epoch in rows:
            notes.append(f"metrics.csv has several rows for epoch {epoch.epoch}: the last counts")
        rows[epoch.epoch] = epoch
        verified &= CHECKSUM in row.cells
    return [rows[epoch] for epoch in sorted(rows)], verified


def _checked_rows(folder: Path, notes: list[str]) -> Iterator[tuple[_Row, Epoch]]:
    text = _text(folder, "metrics.csv")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines.pop()
        if lines:
            notes.append(f"metrics.csv line {len(lines) + 1} has no newline (perhaps still being written): skipped")
    if not lines:
        raise ValueError(f"{folder}: metrics.csv is empty")
    header = _cells(lines[0]) or []
    missing = [column for column in REQUIRED_COLUMNS if column not in header]
    if missing:
        raise ValueError(f"{folder}: metrics.csv is not that of a run: missing columns {', '.join(missing)}")
    for number, line in enumerate(lines[1:], start=2):
        cells = _cells(line)
        if cells is None or len(cells) != len(header):
            if number == len(lines):
                notes.append(f"metrics.csv line {number} is truncated: skipped")
                break
            count = "an unclosed quote" if cells is None else f"{len(cells)} cells"
            raise ValueError(f"{folder}: metrics.csv line {number} is damaged: {count}, expected {len(header)} cells")
        named = dict(zip(header, cells, strict=True))
        if is_intact(named) is False:
            raise ValueError(
                f"{folder}: metrics.csv line {number} is damaged: it does not match its checksum; "
                "train the run with --resume to restore it from its checkpoint"
            )
        row = _Row(folder, number, named)
        yield row, row.epoch()


def _cells(line: str) -> list[str] | None:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None


@dataclass(frozen=True)
class _Row:
    """One line of metrics.csv, with the errors that name its place."""

    folder: Path
    line: int
    cells: dict[str, str]

    def fail(self, column: str, wanted: str) -> ValueError:
        value = self.cells[column]
        shown = value if len(value) <= 60 else value[:57] + "..."
        return ValueError(f"{self.folder}: metrics.csv line {self.line}: {column} is {shown!r}, must be {wanted}")

    def optional(self, column: str) -> float | None:
        text = self.cells.get(column, "").strip()
        if not text:
            return None
        try:
            return float(text)
        except ValueError:
            raise self.fail(column, "a number") from None

    def optional_pair(self, name: str) -> Pair | None:
        height, width = self.optional(f"{name}_h"), self.optional(f"{name}_w")
        return None if height is None or width is None else (height, width)

    def number(self, column: str) -> float:
        value = self.optional(column)
        if value is None:
            raise self.fail(column, "a number")
        return value

    def count(self, column: str) -> int | None:
        value = self.optional(column)
        if value is None:
            return None
        if not math.isfinite(value) or value != int(value) or value < 0:
            raise self.fail(column, "a whole number of at least 0")
        return int(value)

    def pairs(self, column: str) -> dict[str, Pair]:
        text = self.cells.get(column, "").strip()
        if not text:
            return {}
        wanted = "a JSON object of [height, width] pairs"
        try:
            data = json.loads(text)
        except ValueError:
            raise self.fail(column, wanted) from None
        if not isinstance(data, dict):
            raise self.fail(column, wanted)
        result: dict[str, Pair] = {}
        for name, pair in data.items():
            if not (isinstance(pair, list) and len(pair) == 2 and all(_is_number(item) for item in pair)):
                raise self.fail(column, wanted)
            result[str(name)] = (float(pair[0]), float(pair[1]))
        return result

    def sizes(self) -> dict[str, tuple[int, int]]:
        pairs = self.pairs("sizes")
        if not pairs or any(not math.isfinite(x) or x < 1 or x != int(x) for pair in pairs.values() for x in pair):
            raise self.fail("sizes", "a JSON object of whole, positive [height, width] pairs")
        return {name: (int(height), int(width)) for name, (height, width) in pairs.items()}

    def epoch(self) -> Epoch:
        epoch = self.count("epoch")
        if epoch is None:
            raise self.fail("epoch", "a whole number of at least 0")
        accuracy = self.number("test_accuracy") if epoch > 0 else self.optional("test_accuracy")
        if accuracy is not None and not 0.0 <= accuracy <= 1.0:
            raise self.fail("test_accuracy", "a fraction from 0 to 1")
        return Epoch(
            epoch=epoch,
            train_loss=self.optional("train_loss"),
            train_accuracy=self.optional("train_accuracy"),
            test_loss=self.optional("test_loss"),
            test_accuracy=accuracy,
            gmacs=self.number("gmacs"),
            sizes=self.sizes(),
            alphas=self.pairs("alphas"),
            strides=self.pairs("strides"),
            i_min=(self.number("i_min_h"), self.number("i_min_w")),
            i_max=self.optional_pair("i_max"),
            i_max_local=self.optional_pair("i_max_local"),
            unproductive=self.count("unproductive"),
            behind_global=self.count("behind_global"),
            parameters=self.count("parameters"),
            seconds=self.optional("seconds"),
            peak_memory=self.count("peak_memory"),
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
