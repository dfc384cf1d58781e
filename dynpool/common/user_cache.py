"""Where the package keeps what it can make again."""

import os
from pathlib import Path

__all__ = ["user_cache"]


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/dynpool`` if that is an absolute path, else ``~/.cache/dynpool``; it may not exist.

    Raises:
        RuntimeError: if the user has no home.
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "dynpool"
