"""What must hold of a run folder after a fault, and of a run in the end; for benchmarks/faults.py."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.fault_attempts import STEPS
from dynpool.analysis.common.atomic_files import SUFFIX
from dynpool.training import TrainingError
from dynpool.training.checkpoint import Checkpoint, last_path, load, stopped_path
from dynpool.training.run_folder import RunFolder

VARIES = ("seconds", "images_per_second", "peak_memory", "checksum")


def saved_steps(folder: Path) -> int:
    """The optimiser steps in the checkpoint that a run would continue from; -1 without one."""
    available = RunFolder(folder).checkpoints()
    if not available:
        return -1
    found = load(available[-1])
    return found.epoch * STEPS + (found.partial.step if found.partial is not None else 0)


def broken_files(folder: Path) -> Iterator[str]:
    """The files that are not whole."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            if path.suffix == ".pt":
                load(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.name == "metrics.csv":
                with path.open(newline="") as file:
                    if not all(None not in row.values() for row in csv.DictReader(file)):
                        yield f"{path.name}: a row is cut off"
        except (TrainingError, ValueError) as error:
            yield f"{path.name}: {error}"


def differences(folder: Path, alone: Path) -> Iterator[str]:
    """How a finished run differs from that which was left alone."""
    for name in ("metrics.csv", "i_min.jsonl"):
        if _content(folder / name) != _content(alone / name):
            yield f"{name} differs"
    mine, other = (load(last_path(run)) for run in (folder, alone))
    for name, value in _tensors(other).items():
        if not torch.equal(value, _tensors(mine)[name]):
            yield f"{name} differs"
    done = RunFolder(folder)
    figures = done.finished()
    if figures is None or not done.check_finished(figures):
        yield "done.json does not match the files"
    left = [path.name for path in folder.rglob(f".*{SUFFIX}")]
    if left or stopped_path(folder).exists():
        yield f"files are left over: {left}"


def _content(path: Path) -> object:
    if path.suffix != ".csv":
        return path.read_bytes()
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in VARIES} for row in csv.DictReader(file)]


def _tensors(saved: Checkpoint) -> dict[str, torch.Tensor]:
    momenta = {f"momentum of {k}": state["momentum_buffer"] for k, state in saved.optimizer["state"].items()}
    return {**saved.model, **momenta}
