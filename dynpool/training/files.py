"""Files that are either whole or absent: atomic writing, and a lock on a run folder."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dynpool.training.errors import RunFolderError, writing

if sys.platform != "win32":
    import fcntl

__all__ = ["locked", "make_folder", "write_atomically", "write_json", "write_text"]


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        UnwritableError: it cannot be created (also when a file stands in the way).
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through a temporary one in the same folder, so that a reader sees the old file or the whole new one.

    Args:
        path: the file to write; its folder must exist.
        write: receives the open binary file.

    Raises:
        DiskFullError, UnwritableError: the old file, if there was one, is left untouched.
    """
    with writing(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system allows opening a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8. Raises as `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented. Raises as `write_atomically`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock ends with the process, however it ends.

    Raises:
        RunFolderError: another process is writing to the folder.
        UnwritableError: the lock file cannot be created.
    """
    if sys.platform == "win32":  # no such locks there
        yield
        return
    path = folder / ".lock"
    with writing(path):
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(f"{folder} is being written by another process; wait for it or stop it") from None
        yield
