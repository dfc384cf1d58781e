"""Files of a run: atomic writes, reads with errors that name the file, and the lock on a folder."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from dynpool.analysis.common.atomic_files import remove_leftovers, write_whole
from dynpool.analysis.common.checksums import with_heading

from .errors import RunFolderError, writing

if sys.platform != "win32":
    import fcntl

__all__ = ["locked", "make_folder", "read_bytes", "write_atomically", "write_json", "write_text", "write_yaml"]


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        UnwritableError: if it cannot be created, for instance because a file has its name.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically: readers see the old file or the complete new one.

    Args:
        path: the file to write; its folder must exist.
        write: a function that writes to the open binary file.

    Raises:
        DiskFullError, UnwritableError: if it cannot be written; an existing file is left unchanged.
    """
    with writing(path):
        write_whole(path, write)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically. Raises the errors of `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically. Raises the errors of `write_atomically`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write a YAML file atomically, with its checksum in the first line. Raises the errors of `write_atomically`."""
    write_text(path, with_heading(yaml.safe_dump(value, sort_keys=False)))


def read_bytes(path: Path) -> bytes | None:
    """The content of a file, or None if it does not exist.

    Raises:
        RunFolderError: if it cannot be read, or is a folder.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise RunFolderError(f"{path}: it is a folder, not a file; remove it") from None
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror or error}") from None


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """A context that locks the folder for this process and removes temporary files of killed processes.

    The lock is released when the process ends, however it ends.

    Args:
        folder: which must exist.
        patience: seconds to wait for another process that holds the lock: one that is about to end, or whose machine is
            lost and whose lock a network file system keeps for a while.

    Raises:
        RunFolderError: if another process holds the lock.
        UnwritableError: if the lock file cannot be created.
    """
    if sys.platform == "win32":  # has no such locks
        yield
        return
    path = folder / ".lock"
    with writing(path):
        file = path.open("a")
    with file:
        until = time.monotonic() + patience
        while not _taken(file):
            if time.monotonic() >= until:
                raise RunFolderError(f"{folder} is being written by another process; wait for it or stop it")
            time.sleep(0.2)
        with writing(folder):
            for held in (folder, folder / "checkpoints"):
                remove_leftovers(held)
        yield


def _taken(file: IO[str]) -> bool:
    """Whether this process now has the lock on a file."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
