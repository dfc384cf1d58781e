"""The files of a run: written whole or not at all, read with errors that name them, and the lock on their folder."""

import json
import sys
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
        write_whole(path, write)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8. Raises as `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented. Raises as `write_atomically`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write a YAML file atomically, its checksum in the first line. Raises as `write_atomically`."""
    write_text(path, with_heading(yaml.safe_dump(value, sort_keys=False)))


def read_bytes(path: Path) -> bytes | None:
    """The content of a file of a run, or None if there is no such file.

    Raises:
        RunFolderError: it cannot be read, or a folder is in its place.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise RunFolderError(f"{path}: a folder is in the place of the file; remove it") from None
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror or error}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock ends with the process, however it ends.

    What a process that was killed had been writing is removed.

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
        with writing(folder):
            for held in (folder, folder / "checkpoints"):
                remove_leftovers(held)
        yield
