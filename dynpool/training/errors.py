"""The errors of a training run: everything a user can meet and correct, in one place.

`TrainingError` is the base of all of them, so that a caller (the command line) shows one line and no traceback.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DamagedCheckpointError",
    "DataError",
    "DiskFullError",
    "DivergedError",
    "ForeignCheckpointError",
    "PeerError",
    "RunFolderError",
    "StoppedError",
    "TrainingError",
    "UnwritableError",
    "writing",
]


class TrainingError(Exception):
    """Base of every error of the training package that a user can correct."""


class ConfigError(TrainingError, ValueError):
    """A configuration names an unknown key or gives a value that is not allowed.

    Attributes:
        key: which it is about, dots between sections; empty if it is about none.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message, key)
        self.key = key

    def __str__(self) -> str:
        return str(self.args[0])


class DataError(TrainingError, ValueError):
    """A dataset is missing, incomplete or cannot be decoded."""


class RunFolderError(TrainingError, RuntimeError):
    """A run folder is already in use, or holds another run than the one asked for."""


class UnwritableError(TrainingError, RuntimeError):
    """A file or folder of a run cannot be written."""


class DiskFullError(UnwritableError):
    """The disk (or the user's quota) is full."""


class CheckpointError(TrainingError, RuntimeError):
    """A checkpoint cannot be used."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint is truncated or its contents do not match their checksums."""


class ForeignCheckpointError(CheckpointError):
    """A file is not a checkpoint of this program, or is one of another model."""


class DivergedError(TrainingError, RuntimeError):
    """The training loss is no longer finite."""


class PeerError(TrainingError, RuntimeError):
    """Another process of a run on several devices has ended."""


class StoppedError(TrainingError, RuntimeError):
    """A signal such as SIGTERM asked the run to end: what it had done is saved, and it can be resumed."""


@contextmanager
def writing(
    path: Path, *, when_full: str = "free some space, then continue with --resume (nothing saved is lost)"
) -> Iterator[None]:
    """Turn an `OSError` raised while `path` is written into an error that says what to do.

    Args:
        path: what is written.
        when_full: what to do about a full disk.

    Raises:
        DiskFullError: no space left on the device, or quota exceeded.
        UnwritableError: any other failure to create or write the file.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"cannot write {path}: {reason}; {when_full}") from error
        if isinstance(error, IsADirectoryError) and path.is_dir():
            raise UnwritableError(f"cannot write {path}: a folder is in the place of the file; remove it") from error
        raise UnwritableError(f"cannot write {path}: {reason}; choose a writable folder with --out") from error
