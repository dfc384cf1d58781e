"""The errors of training runs that a user can correct.

`TrainingError` is the base of all of them, so that the command line can show one line instead of a traceback.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    "require",
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
    """A run folder is in use, or holds another run than the requested one."""


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
    """Another process of a multi-process run has ended, or has other sizes."""


class StoppedError(TrainingError, RuntimeError):
    """The run was stopped by a signal such as SIGTERM. Its progress is saved and it can be resumed."""


@contextmanager
def writing(
    path: Path,
    *,
    when_full: str = "free some space, then continue with --resume (nothing saved is lost)",
    elsewhere: str = "choose a place that can be written with --out",
) -> Iterator[None]:
    """A context that turns an `OSError` while `path` is written into an error with a remedy.

    Args:
        path: the file or folder being written.
        when_full: the remedy for a full disk.
        elsewhere: the remedy for a place that cannot be written.

    Raises:
        DiskFullError: if no space is left on the device, or the quota is exceeded.
        UnwritableError: if the file cannot be created or written for another reason.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"cannot write {path}: {reason}; {when_full}") from error
        if isinstance(error, IsADirectoryError) and path.is_dir():
            raise UnwritableError(f"cannot write {path}: it is a folder, not a file; remove it") from error
        raise UnwritableError(f"cannot write {path}: {reason}; {elsewhere}") from error


def require(key: str, value: Any, allowed: bool, what: str) -> None:
    """Raise `ConfigError` naming the key, its value and what is allowed, unless the value is."""
    if not allowed:
        shown = list(value) if isinstance(value, tuple) else value  # as it is written in a file
        raise ConfigError(f"{key} is {shown!r}; allowed: {what}", key)
