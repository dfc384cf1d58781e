"""The run folder: configuration, environment, one row per epoch, checkpoints, and a file that marks a finished run.

config.yaml  environment.json  method.txt  metrics.csv  i_min.jsonl  [sensitivity.jsonl]  [predictions.npz]
checkpoints/last.pt  [checkpoints/epoch-0004.pt ...] [checkpoints/stopped.pt] [tracking/] done.json

A run is resumed from its checkpoint, which also holds the rows of metrics.csv and the lines of i_min.jsonl and
sensitivity.jsonl; the files are rewritten from it. All files have checksums (in metrics.csv one per row), and done.json
has the SHA-256 of every other file.
"""

import json
import logging
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import dynpool
from dynpool.analysis.common.checksums import CHECKSUM, file_digest, is_intact, text_is_intact, with_checksum
from dynpool.analysis.common.json_text import strict_json
from dynpool.analysis.comparison import EXAMPLES_FILE, read_rows

from .checkpoint import Checkpoint, last_path, load, save, stopped_path
from .config import RunConfig
from .config_file import read_yaml
from .config_identity import changed_keys, to_dict
from .errors import CheckpointError, ConfigError, DamagedCheckpointError, RunFolderError, writing
from .files import make_folder, read_bytes, write_json, write_text, write_yaml
from .metrics_file import COLUMNS, cell_text, columns_of, table_text
from .replaced import Replaced
from .restarts import launch

__all__ = ["COLUMNS", "RunFolder"]

log = logging.getLogger(__name__)

_AGAIN = "start again with --overwrite"


class RunFolder:
    """The files of one run.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.method = path / "method.txt"
        self.metrics = path / "metrics.csv"
        self.i_min = path / "i_min.jsonl"
        self.sensitivity = path / "sensitivity.jsonl"
        self.examples = path / EXAMPLES_FILE
        self.done = path / "done.json"
        self._written = (
            self.metrics, self.i_min, self.sensitivity, self.examples, self.method, self.environment, self.config,
        )  # fmt: skip
        self.replaced = Replaced(path, self._own)
        self.rows: list[dict[str, str]] = []
        self.lines: list[str] = []
        self.sensitivity_lines: list[str] = []

    @property
    def started(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return any(f.exists() for f in (self.config, self.metrics, self.done)) or bool(self.checkpoints())

    def checkpoints(self) -> list[Path]:
        """The existing checkpoints; the last one is the one to continue from."""
        folder = self.path / "checkpoints"
        latest = [last_path(self.path), stopped_path(self.path)]
        return sorted(folder.glob("epoch-*.pt")) + [path for path in latest if path.exists()]

    def finished(self) -> dict[str, Any] | None:
        """The content of done.json, or None if the run is not finished.

        A damaged file counts as missing, with a warning: it is rewritten from the run's checkpoint.

        Raises:
            RunFolderError: if it cannot be read, or is a folder.
        """
        try:
            return self._object(self.done)
        except _DamagedError as error:
            log.warning("%s; it is rewritten from the run's checkpoint", error)
            return None

    def _object(self, path: Path) -> dict[str, Any] | None:
        """The JSON object in a file; None if there is no such file."""
        try:
            text = read_bytes(path)
            content = None if text is None else json.loads(text)
        except ValueError as error:
            raise _DamagedError(f"{path} is damaged ({error})") from None
        if content is not None and (not isinstance(content, dict) or is_intact(content) is False):
            raise _DamagedError(f"{path} is damaged (its checksum does not match)")
        return content

    def check_finished(self, done: Mapping[str, Any]) -> bool:
        """Whether the files of a finished run are unchanged, so that nothing needs to be done.

        Removed checkpoints only cause a warning. Other files are restored from the last checkpoint by the caller.

        Raises:
            DamagedCheckpointError: if a checkpoint differs from the one that was written.
            RunFolderError: if other files are damaged or missing, and there is no checkpoint to restore them from.
        """
        digests = done.get("files")
        if not isinstance(digests, dict):
            log.warning("%s: not verified, as an earlier version wrote this run without checksums", self.path)
            return True
        found = {name: _digest(self.path / name) for name in digests}
        removed = [name for name in digests if name.endswith(".pt") and not (self.path / name).exists()]
        changed = [name for name in digests if found[name] != digests[name] and name not in removed]
        for name in changed:
            if name.endswith(".pt") and name != _LAST:
                raise DamagedCheckpointError(f"{self.path / name}: it has changed since the run wrote it; remove it")
        if removed:
            log.warning("%s: removed since the run ended: %s", self.path, ", ".join(removed))
        if changed and _LAST in removed:
            raise RunFolderError(
                f"{self.path}: damaged or missing since the run ended: {', '.join(changed)}; there is no {_LAST} to "
                f"restore them from: {_AGAIN}"
            )
        if changed:
            log.warning("%s: damaged or missing since the run ended: %s", self.path, ", ".join(changed))
        return not changed

    def open(self, config: RunConfig, *, resume: bool, overwrite: bool) -> Checkpoint | None:
        """Prepare the folder for `config`: empty for a new run, restored to the last checkpoint for a resumed one.

        Returns:
            The checkpoint to continue from, or None to start from the beginning.

        Raises:
            RunFolderError: if it holds a run and neither `resume` nor `overwrite` is set, or files of these names that
                no run wrote; if the run to resume has another configuration (the message names the keys), or its rows
                do not match its checkpoint.
            CheckpointError: if its checkpoint is damaged or foreign.
            UnwritableError: if the folder cannot be written.
        """
        make_folder(self.path)
        self.replaced.put_back()  # what a run that never began has replaced
        if (self.path / "comparison.yaml").exists():
            raise RunFolderError(f"{self.path} holds a comparison, not a run; choose another folder with --out")
        if foreign := self._foreign():
            raise RunFolderError(f"{foreign} was not written by a run: choose another folder with --out")
        if self.started and not (resume or overwrite):
            raise RunFolderError(
                f"{self.path} already holds a run: continue it with --resume, discard it with --overwrite, "
                "or choose another folder with --out"
            )
        checkpoint = self._resume(config) if resume and not overwrite else None
        if checkpoint is None:
            self.replaced.set_aside()
            self.rows, self.lines, self.sensitivity_lines = [], [], []
        return checkpoint

    def _foreign(self) -> Path | None:
        """A file of the user's own where a run would write one: there is none in a folder that a run has begun."""
        begun = self.done.exists() or self.checkpoints() or b'"sessions"' in (read_bytes(self.environment) or b"")
        if begun or text_is_intact((read_bytes(self.config) or b"").decode(errors="replace")) is not None:
            return None
        return next((file for file in self._written if file.is_file()), None)

    def _resume(self, config: RunConfig) -> Checkpoint | None:
        available = self.checkpoints()
        if not available:
            if self.done.exists() or (self.metrics.is_file() and self.metrics.read_bytes().count(b"\n") > 2):
                raise RunFolderError(f"{self.path} holds a run without a checkpoint: {_AGAIN}")
            return None  # ended before its first checkpoint
        for path in available:
            if path.is_dir():
                raise RunFolderError(f"{path}: a folder, not a checkpoint; remove it")
        newest = available[-1]
        try:
            checkpoint = load(newest)
        except CheckpointError as error:
            remove = f"it and {self.done}" if self.done.exists() else "it"
            older = f"remove {remove} to continue after {available[-2].name}" if len(available) > 1 else _AGAIN
            raise type(error)(f"{error}; {older}") from None
        changed = changed_keys(checkpoint.config, to_dict(config))
        if changed:
            raise RunFolderError(
                f"{self.path} holds a run of another configuration ({'; '.join(changed)}): resume it with its own, "
                "discard it with --overwrite, or choose another folder with --out"
            )
        with writing(self.done):
            self.done.unlink(missing_ok=True)
        if newest not in (last_path(self.path), stopped_path(self.path)):  # it may be of the last epoch
            save(checkpoint, last_path(self.path))
        self._restore_tables(checkpoint)
        return checkpoint

    def _own(self) -> list[Path]:
        """The files and folders of a run: all that is ever removed."""
        files = [self.done, *self.checkpoints(), *self._written, self.path / "tracking"]
        return [file for file in files if file.exists()]

    def _restore_tables(self, checkpoint: Checkpoint) -> None:
        """Rewrite the tables of the run from the checkpoint, without rows of later, unfinished epochs."""
        rows, lines = checkpoint.rows, checkpoint.lines
        if rows is None or lines is None:
            rows, lines = self._rows_until(checkpoint.epoch), self._lines_until(checkpoint.epoch)
        else:
            _warn_if_damaged(self.metrics, table_text(rows))
            _warn_if_damaged(self.i_min, "".join(lines))
        self.rows = [{column: row.get(column, "") for column in columns_of(row)} for row in rows]
        self.lines = list(lines)
        write_text(self.metrics, table_text(self.rows))
        write_text(self.i_min, "".join(self.lines))
        self.sensitivity_lines = list(checkpoint.sensitivity or ())
        if self.sensitivity_lines:
            _warn_if_damaged(self.sensitivity, "".join(self.sensitivity_lines))
            write_text(self.sensitivity, "".join(self.sensitivity_lines))
        else:
            with writing(self.sensitivity):
                self.sensitivity.unlink(missing_ok=True)

    def _rows_until(self, epoch: int) -> list[dict[str, str]]:
        """The rows of a run of an earlier version, whose checkpoints do not hold them, checked as far as possible."""
        try:
            rows = [row for row in read_rows(self.path) if int(row["epoch"]) <= epoch]
        except (FileNotFoundError, ValueError) as error:
            raise RunFolderError(f"{error}; {_AGAIN}") from None
        found = [int(row["epoch"]) for row in rows]
        if found != list(range(epoch + 1)):
            raise RunFolderError(f"{self.metrics} has epochs {found}, but the checkpoint epoch {epoch}; {_AGAIN}")
        log.warning("%s: not verified, as an earlier version wrote this run without checksums", self.path)
        return rows

    def _lines_until(self, epoch: int) -> list[str]:
        """The lines of a run of an earlier version, whose checkpoints do not hold them."""
        lines: dict[int, str] = {}
        for line in (read_bytes(self.i_min) or b"").splitlines():
            try:
                lines[int(json.loads(line)["step"])] = line.decode() + "\n"
            except (ValueError, KeyError, TypeError):
                continue  # damaged or truncated
        missing = [step for step in range(epoch + 1) if step not in lines]
        if missing:
            raise RunFolderError(f"{self.i_min}: missing or damaged: no line for epoch {missing[0]}; {_AGAIN}")
        return [lines[step] for step in range(epoch + 1)]

    def write_config(self, config: RunConfig) -> None:
        """Write config.yaml, which `dynpool train` reads back."""
        self._tell_of_threads(config)
        if text_is_intact((read_bytes(self.config) or b"").decode(errors="replace")) is False:
            log.warning("%s was damaged or edited; it is rewritten", self.config)
        write_yaml(self.config, to_dict(config))

    def _tell_of_threads(self, config: RunConfig) -> None:
        try:
            before = read_yaml(self.config).get("threads") if self.checkpoints() else config.threads
        except (ConfigError, AttributeError):
            return  # damaged, which is told elsewhere
        if before != config.threads:
            log.warning(
                "%s: threads is %s, and was %s before: the last bits of the results depend on it",
                self.path, *("unset" if n is None else n for n in (config.threads, before)),
            )  # fmt: skip

    def write_method(self, summary: str) -> None:
        """Write method.txt, the description of what the method did to the network, unless it is empty."""
        if summary:
            write_text(self.method, summary + "\n")

    def write_environment(self, device: torch.device, processes: int, resumed_after: int | None) -> None:
        """Write environment.json: machine and versions of every session; a resumed run adds a session."""
        sessions = self.sessions() if resumed_after is not None else []
        cuda = device.type == "cuda"
        sessions.append(
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "resumed_after_epoch": resumed_after,
                "command": sys.argv,
                "launch": launch(),
                "host": platform.node(),
                "system": platform.platform(),
                "cpu": platform.processor() or platform.machine(),
                "cpu_count": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "device": torch.cuda.get_device_name(device) if cuda else str(device),
                "processes": processes,
                "python": platform.python_version(),
                "dynpool": dynpool.__version__,
                "torch": torch.__version__,
                "cuda": torch.version.cuda if cuda else None,
                **{name: _installed(name) for name in ("torchvision", "timm", "accelerate", "numpy")},
            }
        )
        write_json(self.environment, with_checksum({"sessions": sessions}))

    def sessions(self) -> list[Any]:
        """The sessions in environment.json, one for each time that the run was started or resumed.

        Raises:
            RunFolderError: if environment.json cannot be read, or is a folder.
        """
        try:
            content = self._object(self.environment) or {}
        except _DamagedError as error:
            log.warning("%s; the record of earlier sessions is lost", error)
            return []
        sessions = content.get("sessions")
        return sessions if isinstance(sessions, list) else []

    def append(self, row: Mapping[str, Any]) -> None:
        """Add the row of an epoch to metrics.csv, which is replaced atomically.

        The line that the I_min tracker added to i_min.jsonl for the epoch is kept for the checkpoint.
        """
        self.rows.append({column: cell_text(row[column]) for column in columns_of(row)})
        self.lines.append(self.i_min.read_text(encoding="utf-8").splitlines(keepends=True)[-1])
        write_text(self.metrics, table_text(self.rows))

    def append_sensitivity(self, report: Mapping[str, Any]) -> None:
        """Add a report as one line to sensitivity.jsonl, which is replaced atomically."""
        self.sensitivity_lines.append(strict_json(report, indent=None))
        write_text(self.sensitivity, "".join(self.sensitivity_lines))

    def settle_here(self) -> None:
        """Make config.yaml name this folder, if the run was copied here from elsewhere; done.json has its digest."""
        config, done = read_yaml(self.config), self.finished()
        write_yaml(self.config, {**config, "out": str(self.path)})
        if done is not None:
            self.finish({key: value for key, value in done.items() if key not in ("files", CHECKSUM)})

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Write done.json, which marks the run as finished."""
        tables = [self.metrics, self.i_min, self.sensitivity, self.examples]
        files = [self.config, self.environment, self.method, *tables, *self.checkpoints()]
        digests = {f.relative_to(self.path).as_posix(): file_digest(f) for f in files if f.exists()}
        write_json(self.done, with_checksum({**figures, "files": digests}))


class _DamagedError(Exception):
    """A file that can be restored or replaced is damaged."""


_LAST = last_path(Path()).as_posix()


def _installed(package: str) -> str | None:
    """The version of an installed package; None if it is not installed as one."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file; None if there is no such file."""
    return file_digest(path) if path.is_file() else None


def _warn_if_damaged(path: Path, text: str) -> None:
    """Warn if a file does not start with the given text; the caller restores it."""
    if not path.is_file() or not path.read_bytes().startswith(text.encode()):
        log.warning("%s was missing or damaged; it is restored from the checkpoint", path)
