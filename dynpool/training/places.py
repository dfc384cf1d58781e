"""Checks of output paths before the work starts, so that no work is lost."""

import errno
import os
import tempfile
from pathlib import Path

from .errors import UnwritableError, writing

__all__ = ["check_file", "check_folder"]


def check_folder(path: Path) -> None:
    """Check that a folder can be written to or created; nothing is left behind.

    Raises:
        UnwritableError: a file is in its place, or nothing can be written there.
    """
    with writing(path):
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not there.is_dir():
            raise UnwritableError(f"cannot write {path}: {there} is a file; choose a folder with --out")
        with tempfile.TemporaryFile(dir=there):
            pass


def check_file(path: Path, *, parents: bool = False) -> None:
    """Check that a file can be written; nothing is left behind.

    Args:
        path: the file.
        parents: whether its folder will be made if it is missing.

    Raises:
        UnwritableError: it is a folder, its folder is missing, or nothing can be written there.
    """
    with writing(path):
        if path.is_dir():
            raise UnwritableError(f"cannot write {path}: it is a folder; name a file with --out")
        if path.exists():
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        elif parents and not path.parent.is_dir():
            check_folder(path.parent)
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
