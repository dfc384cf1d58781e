"""Atomic file writes: a reader sees the old file or the complete new one."""

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
    """Write a file atomically: to a temporary file in the same folder, then moved into place.

    Args:
        path: the file to write; its folder must exist.
        content: the bytes, or a function that writes them to the open binary file.

    Raises:
        OSError: if it cannot be written; an existing file is left as it was.
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
        # mkstemp makes files readable by their owner only; these get the usual permissions.
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
    """Remove temporary files that killed processes left in a folder. No process may be writing there.

    Raises:
        OSError: if a file cannot be removed.
    """
    for file in folder.glob(f".*{SUFFIX}"):
        file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush a rename to disk, on systems that allow opening a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
