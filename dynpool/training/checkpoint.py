"""Checkpoints: one file per epoch, written atomically and loaded without running code from it.

A checkpoint is a `torch.save` archive of tensors and plain containers, a zip file in which every record has a CRC-32.
The checksums are verified (PyTorch does not do that), then it is loaded with `weights_only`.
"""

import copy
import io
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from dynpool.common.archives import DamagedArchiveError, check_archive
from dynpool.resizers import LearnedResizer, learned_resizers

from .errors import DamagedCheckpointError, ForeignCheckpointError
from .files import make_folder, write_atomically

__all__ = [
    "Checkpoint",
    "Partial",
    "epoch_path",
    "last_path",
    "load",
    "restore_model",
    "restore_optimizer",
    "restore_rng",
    "restore_scheduler",
    "rng_state",
    "save",
    "stopped_path",
]

FORMAT = "dynpool-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Partial:
    """The progress of an unfinished epoch, in which a signal stopped the run.

    Attributes:
        step: optimiser steps of the epoch that are done.
        sums: the sums from which the epoch's means are computed, (processes, sums) in float64.
        rates: learning rates of the last step.
        seconds: time spent on the epoch.
    """

    step: int
    sums: Tensor
    rates: Sequence[float]
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch, or in the middle of the next.

    Attributes:
        epoch: number of finished epochs.
        config: the resolved configuration, as plain containers.
        fingerprint: fingerprint of that configuration (`dynpool.training.config.fingerprint`).
        model: state dict.
        optimizer: state dict.
        scheduler: state dict.
        scaler: state dict of the fp16 gradient scaler, empty without one.
        rng: states of PyTorch's generators, by device.
        rows: the rows of metrics.csv up to `epoch`; None if an earlier version wrote the checkpoint.
        lines: the lines of i_min.jsonl up to `epoch`; None if an earlier version wrote the checkpoint.
        sensitivity: the lines of sensitivity.jsonl up to `epoch`; None if an earlier version wrote the checkpoint.
        partial: progress of the next epoch; None at the end of an epoch.
        ema: state dict of the moving average of the weights; None without one.
        ranks: of a run of several processes, the states of each one's generators; None of one process.
        latency: the measurements that the run predicts milliseconds from (`dynpool.LatencyModel.to_dict`); or None.
    """

    epoch: int
    config: Mapping[str, Any]
    fingerprint: str
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    scaler: Mapping[str, Any]
    rng: Mapping[str, Tensor]
    rows: Sequence[Mapping[str, str]] | None = None
    lines: Sequence[str] | None = None
    sensitivity: Sequence[str] | None = None
    partial: Partial | None = None
    ranks: Sequence[Mapping[str, Tensor]] | None = None
    ema: Mapping[str, Tensor] | None = None
    latency: Mapping[str, Any] | None = None

    @property
    def trained(self) -> Mapping[str, Tensor]:
        """The weights that a run is tested with: their moving average, if it has one."""
        return self.model if self.ema is None else self.ema


Check = Callable[[Any], bool]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapping(value: Any, inner: type = object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, inner) for k, v in value.items())


def _generators(value: Any) -> bool:
    return (
        _mapping(value, Tensor)
        and "cpu" in value
        and all(re.fullmatch(r"cpu|cuda:\d+", name) for name in value)
        and all(state.dtype == torch.uint8 and state.ndim == 1 for state in value.values())
    )


def _optimizer(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("state"), Mapping)
        and all(_whole(index) and _mapping(entry) for index, entry in value["state"].items())
        and isinstance(value.get("param_groups"), list)
        and all(_mapping(group) and isinstance(group.get("params"), list) for group in value["param_groups"])
    )


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _partial(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and value.keys() == {f.name for f in fields(Partial)}
        and _whole(value["step"])
        and isinstance(value["sums"], Tensor)
        and (value["sums"].dtype, value["sums"].ndim) == (torch.float64, 2)
        and isinstance(value["rates"], list)
        and all(isinstance(rate, float) for rate in value["rates"])
        and isinstance(value["seconds"], float)
    )


ENTRIES: Mapping[str, tuple[Check, str]] = MappingProxyType(
    {
        "epoch": (_whole, "a whole number"),
        "config": (_mapping, "a configuration"),
        "fingerprint": (lambda value: isinstance(value, str), "a string"),
        "model": (_mapping, "a state dict"),
        "optimizer": (_optimizer, "an optimiser's state"),
        "scheduler": (_mapping, "a scheduler's state"),
        "scaler": (_mapping, "a scaler's state"),
        "rng": (_generators, "states of generators, by device"),
    }
)
"""The entries of every checkpoint: a check, and the text for its error message."""

LATER_ENTRIES: Mapping[str, tuple[Check, str]] = MappingProxyType(
    {
        "rows": (lambda value: isinstance(value, list) and all(_mapping(row, str) for row in value), "rows of strings"),
        "lines": (_strings, "lines of text"),
        "sensitivity": (_strings, "lines of text"),
        "partial": (_partial, "the state of an epoch"),
        "ema": (_mapping, "a state dict"),
        "latency": (_mapping, "measurements of milliseconds"),
        "ranks": (
            lambda value: isinstance(value, list) and all(map(_generators, value)),
            "states of generators, by process",
        ),
    }
)
"""Entries that only checkpoints of later versions have; absent or None in others."""


def last_path(run: Path) -> Path:
    """Path of the checkpoint of a run's last finished epoch."""
    return run / "checkpoints" / "last.pt"


def epoch_path(run: Path, epoch: int) -> Path:
    """Path of the checkpoint kept for one epoch (`checkpoint_every`)."""
    return run / "checkpoints" / f"epoch-{epoch:04d}.pt"


def stopped_path(run: Path) -> Path:
    """Path of the checkpoint of a run that a signal stopped during an epoch; removed when that epoch is finished."""
    return run / "checkpoints" / "stopped.pt"


def rng_state() -> dict[str, Tensor]:
    """The states of PyTorch's global generators: "cpu" and, if in use, "cuda:0", ..."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def save(checkpoint: Checkpoint, *paths: Path) -> None:
    """Write a checkpoint atomically to each path.

    Raises:
        DiskFullError, UnwritableError: if it cannot be written; an older checkpoint at the path is left unchanged.
    """
    content = {"format": FORMAT, "version": VERSION} | {
        key: value if isinstance(value, OrderedDict) or not isinstance(value, Mapping) else dict(value)
        for key, value in vars(checkpoint).items()  # an OrderedDict keeps the metadata of a state dict
    }
    if checkpoint.partial is not None:
        content["partial"] = vars(checkpoint.partial)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    for path in paths:
        make_folder(path.parent)
        write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load(path: Path) -> Checkpoint:
    """The verified checkpoint in a file, with tensors on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedCheckpointError: if it is truncated or a checksum does not match.
        ForeignCheckpointError: if it is intact, but not a checkpoint of this program or of a version it can read.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    if path.is_dir():
        raise DamagedCheckpointError(f"{path}: a folder, not a checkpoint")
    try:
        names = check_archive(path)
    except DamagedArchiveError as error:
        raise DamagedCheckpointError(f"{path}: damaged, or not a checkpoint: {error}") from error
    if not any(name.endswith("data.pkl") for name in names):
        raise ForeignCheckpointError(f"{path}: a zip file, but not written by PyTorch")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign pickle may raise anything, and PyTorch's message advises to run its code
        raise ForeignCheckpointError(
            f"{path}: not a checkpoint of dynpool: it holds more than tensors and plain values"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ForeignCheckpointError(f"{path}: not a checkpoint of dynpool (its format is not {FORMAT!r})")
    if content.get("version") != VERSION:
        raise ForeignCheckpointError(
            f"{path}: checkpoint version {content.get('version')!r}; this program reads {VERSION}"
        )
    for key, (fits, what) in {**ENTRIES, **LATER_ENTRIES}.items():
        if key in ENTRIES and key not in content:
            raise ForeignCheckpointError(f"{path}: not a checkpoint of dynpool: no entry {key!r}")
        if (key in ENTRIES or content.get(key) is not None) and not fits(content[key]):
            raise ForeignCheckpointError(f"{path}: not a checkpoint of dynpool: its entry {key!r} is not {what}")
    entries = {f.name: content[f.name] for f in fields(Checkpoint) if f.name in content}
    if entries.get("partial") is not None:
        entries["partial"] = Partial(**entries["partial"])
    checkpoint = Checkpoint(**entries)
    epochs = [str(epoch) for epoch in range(checkpoint.epoch + 1)]
    if checkpoint.rows is not None and [row.get("epoch") for row in checkpoint.rows] != epochs:
        raise ForeignCheckpointError(f"{path}: not a checkpoint of dynpool: its rows do not match its epochs")
    if checkpoint.lines is not None and len(checkpoint.lines) != len(epochs):
        raise ForeignCheckpointError(f"{path}: not a checkpoint of dynpool: its lines do not match its epochs")
    return checkpoint


def restore_model(
    model: nn.Module,
    checkpoint: Checkpoint,
    path: Path,
    *,
    averaged: bool = False,
    divide: Callable[[str, Tensor], Tensor] | None = None,
) -> None:
    """Load a checkpoint's weights and alphas into a model built from the same configuration.

    Args:
        model: the model.
        checkpoint: the checkpoint.
        path: its file, for messages.
        averaged: load the moving average of the weights, if there is one.
        divide: gives the shard of this process of a tensor of this name; None: tensors are whole.

    Raises:
        ForeignCheckpointError: if names or shapes differ; the model is then unchanged.
    """
    weights = checkpoint.trained if averaged else checkpoint.model
    own = model.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    differing = [
        f"{key} is {_described(value)}, not {_described(own[key])}"
        for key, value in weights.items()
        if key in own and _described(value) != _described(own[key])
    ]
    if missing or unknown or differing:
        parts = [f"missing: {', '.join(missing[:3])}"] * bool(missing)
        parts += [f"unknown: {', '.join(unknown[:3])}"] * bool(unknown) + differing[:3]
        raise ForeignCheckpointError(f"{path}: it belongs to another model ({'; '.join(parts)})")
    for name, resizer in learned_resizers(model, owners=True).items():
        _check_alpha(resizer, name, weights[f"{name}.alpha" if name else "alpha"], path)
    if divide is not None:
        weights = cast("dict[str, Tensor]", copy.copy(weights))  # a copy keeps the metadata
        weights |= {name: divide(name, value) for name, value in weights.items()}
    model.load_state_dict(weights)


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"


def _check_alpha(resizer: LearnedResizer[Any], name: str, alpha: Tensor, path: Path) -> None:
    values = tuple(alpha.expand(resizer.axes).tolist())
    if not all(map(math.isfinite, values)) or not min(resizer.strides(values)) > 0:
        raise ForeignCheckpointError(f"{path}: the alpha of {name} is {values}, not a finite positive stride")


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    checkpoint: Checkpoint,
    path: Path,
    *,
    divide: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda state: state,
) -> None:
    """Load an optimiser's state, as `divide` divides it, after checking that it fits the parameters.

    Raises:
        ForeignCheckpointError: if groups, their options or shapes differ; the optimiser is then unchanged.
    """
    own, saved = optimizer.state_dict(), checkpoint.optimizer
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    groups, found = own["param_groups"], saved["param_groups"]
    wrong = ""
    if [group["params"] for group in found] != [group["params"] for group in groups]:
        wrong = f"its {len(found)} parameter groups do not match the {len(groups)} of this run"
    elif any(group.keys() - other.keys() for group, other in zip(groups, found, strict=True)):
        wrong = "its groups have other options"  # more of them is right: some optimisers add one at their first step
    for index, entry in saved["state"].items():
        if not wrong and index >= len(parameters):
            wrong = f"it has a state of parameter {index}, but there are {len(parameters)}"
        for key, value in entry.items() if not wrong else ():
            like_the_parameter = key in ("momentum_buffer", "exp_avg")  # others may be of any shape, such as factors
            if like_the_parameter and isinstance(value, Tensor) and value.shape != parameters[index].shape:
                wrong = f"{key} of parameter {index} is {tuple(value.shape)}, not {tuple(parameters[index].shape)}"
    if wrong:
        raise ForeignCheckpointError(f"{path}: the optimiser state belongs to another run: {wrong}")
    optimizer.load_state_dict(dict(divide(saved)))


def restore_scheduler(scheduler: LRScheduler, checkpoint: Checkpoint, steps: int, path: Path) -> None:
    """Load a scheduler's state, which must be that after `steps` steps.

    Raises:
        ForeignCheckpointError: if it is that of another scheduler or another step.
    """
    own, saved = scheduler.state_dict(), checkpoint.scheduler
    missing = sorted(own.keys() - saved.keys())
    if missing:
        raise ForeignCheckpointError(f"{path}: the scheduler state belongs to another run: it lacks {missing[0]}")
    if saved["last_epoch"] != steps or len(saved["base_lrs"]) != len(own["base_lrs"]):
        raise ForeignCheckpointError(
            f"{path}: the scheduler state belongs to another run: it is of step {saved['last_epoch']!r}, not {steps}, "
            "or of other parameter groups"
        )
    scheduler.load_state_dict({key: saved[key] for key in own})


def restore_rng(checkpoint: Checkpoint, path: Path, rank: int = 0, processes: int = 1) -> None:
    """Put back what `rng_state` gave; devices that are not there are passed over.

    A run that continues with as many processes gives each its own states, another the main process's to all of them.

    Raises:
        ForeignCheckpointError: a state is not one of such a generator.
    """
    ranks = checkpoint.ranks or ()
    states = ranks[rank] if len(ranks) == processes else checkpoint.rng
    for device, state in states.items():
        try:
            if device == "cpu":
                torch.set_rng_state(state.cpu())
            elif torch.cuda.is_available() and int(device.split(":")[1]) < torch.cuda.device_count():
                torch.cuda.set_rng_state(state.cpu(), device)
        except RuntimeError as error:
            raise ForeignCheckpointError(f"{path}: not the state of a generator of {device}: {error}") from None
