"""Checkpoints: one file an epoch, whole or absent, loaded without running any code of theirs.

A checkpoint is a `torch.save` archive of tensors and plain containers: a zip file whose every record carries a
CRC-32. It is written atomically and its checksums are verified before it is read (PyTorch itself does not), with
`weights_only` loading.
"""

import io
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynpool.training.errors import DamagedCheckpointError, ForeignCheckpointError
from dynpool.training.files import make_folder, write_atomically

__all__ = ["Checkpoint", "epoch_path", "last_path", "load", "restore_model", "rng_state", "save", "set_rng_state"]

FORMAT = "dynpool-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        epoch: epochs finished.
        config: the resolved configuration, as plain containers.
        fingerprint: of that configuration (`dynpool.training.config.fingerprint`).
        model: state dict.
        optimizer: state dict.
        scheduler: state dict.
        scaler: state dict of the fp16 gradient scaler, empty without one.
        rng: states of PyTorch's generators, by device.
    """

    epoch: int
    config: Mapping[str, Any]
    fingerprint: str
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    scaler: Mapping[str, Any]
    rng: Mapping[str, Tensor]


def last_path(run: Path) -> Path:
    """The checkpoint of a run's last finished epoch."""
    return run / "checkpoints" / "last.pt"


def epoch_path(run: Path, epoch: int) -> Path:
    """The checkpoint kept of one epoch (`checkpoint_every`)."""
    return run / "checkpoints" / f"epoch-{epoch:04d}.pt"


def rng_state() -> dict[str, Tensor]:
    """States of PyTorch's global generators: "cpu" and, where in use, "cuda:0", ..."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_rng_state(states: Mapping[str, Tensor]) -> None:
    """Put back what `rng_state` gave; devices that are not there are passed over."""
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(state.cpu())
        elif torch.cuda.is_available() and int(device.split(":")[1]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), device)


def save(checkpoint: Checkpoint, *paths: Path) -> None:
    """Write a checkpoint atomically to every path.

    Raises:
        DiskFullError, UnwritableError: an older checkpoint at the path is left untouched.
    """
    content = {"format": FORMAT, "version": VERSION} | {
        key: value if isinstance(value, OrderedDict) or not isinstance(value, Mapping) else dict(value)
        for key, value in vars(checkpoint).items()  # the metadata of a state dict, an OrderedDict, says the conversion
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    for path in paths:
        make_folder(path.parent)
        write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load(path: Path) -> Checkpoint:
    """The checkpoint in a file, verified, its tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedCheckpointError: it is truncated or a checksum does not match.
        ForeignCheckpointError: it is whole, but no checkpoint of this program or of a later version of it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            names = archive.namelist()
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error, NotImplementedError) as error:
        raise DamagedCheckpointError(f"{path}: damaged, or no checkpoint at all: {error}") from error
    if broken is not None:
        raise DamagedCheckpointError(f"{path}: damaged: the checksum of its record {broken!r} does not match")
    if not any(name.endswith("data.pkl") for name in names):
        raise ForeignCheckpointError(f"{path}: a zip file, but not written by PyTorch")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).split("\n", 1)[0]
        raise ForeignCheckpointError(
            f"{path}: not a checkpoint of dynpool: it holds more than tensors: {reason}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ForeignCheckpointError(f"{path}: not a checkpoint of dynpool (it says no format {FORMAT!r})")
    if content.get("version") != VERSION:
        raise ForeignCheckpointError(
            f"{path}: checkpoint version {content.get('version')!r}; this program reads {VERSION}"
        )
    try:
        return Checkpoint(**{key: content[key] for key in Checkpoint.__dataclass_fields__})
    except KeyError as error:
        raise ForeignCheckpointError(f"{path}: not a checkpoint of dynpool: no entry {error}") from None


def restore_model(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Load a checkpoint's weights and alphas into a model built from the same configuration.

    Raises:
        ForeignCheckpointError: names or shapes differ; the model is then unchanged.
    """
    own = model.state_dict()
    missing = sorted(own.keys() - checkpoint.model.keys())
    unknown = sorted(checkpoint.model.keys() - own.keys())
    shapes = [
        f"{k} is {tuple(v.shape)}, not {tuple(own[k].shape)}"
        for k, v in checkpoint.model.items()
        if k in own and v.shape != own[k].shape
    ]
    if missing or unknown or shapes:
        parts = [f"missing: {', '.join(missing[:3])}"] * bool(missing)
        parts += [f"unknown: {', '.join(unknown[:3])}"] * bool(unknown) + shapes[:3]
        raise ForeignCheckpointError(f"{path}: the checkpoint of another model ({'; '.join(parts)})")
    model.load_state_dict(checkpoint.model)
