"""Results that are kept in a folder with what they were made from, so that interrupted work continues with the next."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import writing
from .files import write_json

__all__ = ["MADE_FROM", "kept_or_made"]

MADE_FROM = "made_from.json"

T = TypeVar("T")


def kept_or_made(
    folder: Path,
    made_from: Mapping[str, Any],
    read: Callable[[], T],
    make: Callable[[], T],
    write: Callable[[T], object],
) -> tuple[T, bool]:
    """The result in a folder if it was made from this, else a new one, written there; and whether it was there.

    Args:
        folder: of the result alone; created when there is one.
        made_from: plain data that decides the result.
        read: reads the result; a ValueError means that it is damaged, and it is made again.
        make: makes it.
        write: writes it to the folder.

    Raises:
        DiskFullError, UnwritableError: if it cannot be written.
    """
    wanted = json.loads(json.dumps(made_from))
    try:
        if json.loads((folder / MADE_FROM).read_text(encoding="utf-8")) == wanted:
            return read(), True
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    made = make()
    with writing(folder, when_full="free some space"):
        (folder / MADE_FROM).unlink(missing_ok=True)  # of an older result
        write(made)
        write_json(folder / MADE_FROM, wanted)
    return made, False
