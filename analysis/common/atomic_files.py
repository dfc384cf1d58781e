"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["remove_leftovers", "write_whole"]

SUFFIX = ".part"


def write_whole(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place and move it there, so that a reader meets the old file or the whole new one.

    Args:
        path: the file to write; its folder must exist.
        content: the bytes, or a function that writes them to the open binary file.

    Raises:
        OSError: the old file, if there was one, is left as it was.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=SUFFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp lets the owner alone read the file; a report or a run is meant to be shared like any other.
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove what `write_whole` was writing to a folder when its process was killed; nobody may be writing there now.

    Raises:
        OSError: one cannot be removed.
    """
    for file in folder.glob(f".*{SUFFIX}"):
        file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system allows opening a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
