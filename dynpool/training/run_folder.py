"""A run's folder: its configuration, environment, one row an epoch, checkpoints, and the file that says it is finished.

config.yaml  environment.json  method.txt  metrics.csv  i_min.jsonl  checkpoints/last.pt [checkpoints/epoch-0004.pt ...]
done.json
"""

import csv
import io
import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import accelerate
import numpy
import timm
import torch
import torchvision
import yaml

import dynpool
from dynpool.training.checkpoint import Checkpoint, last_path, load
from dynpool.training.config import RunConfig, changed_keys, to_dict
from dynpool.training.errors import CheckpointError, RunFolderError, UnwritableError, writing
from dynpool.training.files import make_folder, write_json, write_text

__all__ = ["COLUMNS", "RunFolder"]

COLUMNS = (
    "epoch", "train_loss", "task_loss", "gmacs_loss", "train_accuracy", "test_loss", "test_accuracy", "gmacs", "sizes",
    "alphas", "strides", "i_min_h", "i_min_w", "i_max_h", "i_max_w", "unproductive", "behind_global", "lr", "alpha_lr",
    "parameters", "seconds", "images_per_second", "peak_memory",
)  # fmt: skip
"""Columns of metrics.csv. Accuracies are fractions; train_loss = task_loss + gmacs_loss, gmacs_loss being whatever the
method adds; peak_memory is in bytes, the highest so far; an absent figure is empty."""


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
        self.done = path / "done.json"
        self.rows: list[dict[str, str]] = []

    @property
    def started(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return any(f.exists() for f in (self.config, self.metrics, self.done)) or bool(self._checkpoints())

    def _checkpoints(self) -> list[Path]:
        folder = self.path / "checkpoints"
        return sorted(folder.glob("epoch-*.pt")) + [p for p in [last_path(self.path)] if p.exists()]

    def finished(self) -> Mapping[str, Any] | None:
        """The final figures, or None while the run is not finished."""
        try:
            figures: dict[str, Any] = json.loads(self.done.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunFolderError(f"{self.done}: damaged ({error}); remove it and continue with --resume") from None
        return figures

    def open(self, config: RunConfig, *, resume: bool, overwrite: bool) -> Checkpoint | None:
        """Prepare the folder for `config`: empty for a new run, trimmed to the last checkpoint for a resumed one.

        Returns:
            The checkpoint to continue after, or None to start from the beginning.

        Raises:
            RunFolderError: it holds a run and neither `resume` nor `overwrite` is set, or the run to resume had another
                configuration (names the keys), or its rows are not those of its checkpoint.
            CheckpointError: its checkpoint is damaged or foreign.
            UnwritableError: the folder cannot be written.
        """
        make_folder(self.path)
        if overwrite:
            self._discard()
        elif self.started and not resume:
            raise RunFolderError(
                f"{self.path} already holds a run: continue it with --resume, discard it with --overwrite, "
                "or choose another folder with --out"
            )
        checkpoint = self._resume(config) if resume else None
        if checkpoint is None:
            self._discard()
        return checkpoint

    def _resume(self, config: RunConfig) -> Checkpoint | None:
        available = self._checkpoints()
        if not available:
            return None
        newest = available[-1]
        try:
            checkpoint = load(newest)
        except CheckpointError as error:
            older = f"to continue after {available[-2].name}" if len(available) > 1 else "to start again"
            raise type(error)(f"{error}; remove it {older}") from None
        changed = changed_keys(checkpoint.config, to_dict(config))
        if changed:
            raise RunFolderError(
                f"{self.path} holds a run of another configuration ({'; '.join(changed)}): resume it with its own, "
                "discard it with --overwrite, or choose another folder with --out"
            )
        self._trim(checkpoint.epoch)
        return checkpoint

    def _discard(self) -> None:
        """Remove a run's files, and nothing else that may lie in the folder."""
        files = [self.metrics, self.i_min, self.method, self.environment, self.config]
        own = [self.done, *self._checkpoints(), *files]
        for file in own:
            with writing(file):
                file.unlink(missing_ok=True)
        self.rows = []

    def _trim(self, epoch: int) -> None:
        """Drop rows and lines later than `epoch`: they were written before their checkpoint could be."""
        try:
            with self.metrics.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            kept = [{k: row[k] for k in COLUMNS} for row in rows if int(row["epoch"]) <= epoch]
            found = [int(row["epoch"]) for row in kept]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise RunFolderError(
                f"{self.metrics}: missing or damaged ({error}); start again with --overwrite"
            ) from None
        if found != list(range(epoch + 1)):
            raise RunFolderError(
                f"{self.metrics} holds epochs {found}, its checkpoint is of epoch {epoch}; start again with --overwrite"
            )
        lines = []
        if self.i_min.exists():
            for line in self.i_min.read_text(encoding="utf-8").splitlines():
                try:
                    step = json.loads(line)["step"]
                except (ValueError, KeyError, TypeError):
                    continue  # cut off by the end of the process
                if step <= epoch:
                    lines.append(line + "\n")
        self.rows = kept
        self._write_rows()
        write_text(self.i_min, "".join(lines))

    def write_config(self, config: RunConfig) -> None:
        """Write config.yaml, which `dynpool train` reads back."""
        write_text(self.config, yaml.safe_dump(to_dict(config), sort_keys=False))

    def write_method(self, summary: str) -> None:
        """Write method.txt: what the method did to the network, in words; nothing if it says nothing."""
        if summary:
            write_text(self.method, summary + "\n")

    def write_environment(self, device: torch.device, processes: int, resumed_after: int | None) -> None:
        """Write what the run runs on; a resumed run adds to what is there."""
        sessions: list[Any] = []
        if resumed_after is not None and self.environment.exists():
            try:
                sessions = json.loads(self.environment.read_text(encoding="utf-8"))["sessions"]
            except (ValueError, KeyError, TypeError):
                sessions = []
        cuda = device.type == "cuda"
        sessions.append(
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "resumed_after_epoch": resumed_after,
                "command": sys.argv,
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
                "torchvision": torchvision.__version__,
                "timm": timm.__version__,
                "accelerate": accelerate.__version__,
                "numpy": numpy.__version__,
            }
        )
        write_json(self.environment, {"sessions": sessions})

    def append(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row to metrics.csv, which is replaced as a whole so that a reader never meets half a row."""
        self.rows.append({column: _cell(row[column]) for column in COLUMNS})
        self._write_rows()

    def _write_rows(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.metrics, text.getvalue())

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Write done.json: from then on the run counts as finished."""
        write_json(self.done, dict(figures))

    def check_writable(self) -> None:
        """Fail before hours of training, not after.

        Raises:
            UnwritableError: the folder cannot be written.
        """
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise UnwritableError(f"cannot write {self.path}: permission denied; choose a writable folder with --out")


def _cell(value: Any) -> str:
    """A figure as it stands in the CSV: repr of floats (so that nothing is lost), JSON for mappings, empty for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value)
