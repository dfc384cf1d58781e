"""Where the package keeps what it can make again."""

import os
from pathlib import Path

__all__ = ["user_cache"]


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/dynpool``, else ``~/.cache/dynpool``; it may not exist.

    Raises:
        RuntimeError: if the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynpool"
