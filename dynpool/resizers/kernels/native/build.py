"""The C code of :mod:`.launch`, compiled where a machine first needs it, with that machine's C compiler.

It takes less than a second. The library is kept in the user's cache folder, under a name that depends on the code, the
compiler and the processor; where that folder cannot be written to, every process compiles its own.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from dynpool.common.user_cache import user_cache

__all__ = ["library", "problem"]

_SOURCE = Path(__file__).with_name("pool.c")
_FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-pthread")
_TUNED = ("-march=native", "-mcpu=native", "")  # the first that the compiler knows for this processor
_TIME_LIMIT = 120  # seconds, for a second of work


@lru_cache(maxsize=1)
def _built() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and in one line why there is none."""
    if sys.platform == "win32":
        return None, "there is no support for Windows"
    compiler = _compiler()
    if not compiler:
        return None, "no C compiler was found: neither $CC nor cc, gcc or clang"
    try:
        return _loaded(compiler), ""
    except subprocess.TimeoutExpired:
        return None, f"{' '.join(compiler)}: not finished after {_TIME_LIMIT} seconds"
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return None, f"{' '.join(compiler)}: {' '.join(said.split())[:300]}"


def library() -> ctypes.CDLL | None:
    """The compiled library; None where it cannot be had."""
    return _built()[0]


def problem() -> str | None:
    """Why there is no compiled library here, in one line; None if there is one."""
    return _built()[1] or None


def _compiler() -> list[str]:
    """The command of the compiler: that of ``$CC``, or the first that is installed; empty if there is none."""
    chosen = shlex.split(os.environ.get("CC", ""))
    found = [[path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))]
    return chosen or (found[0] if found else [])


def _loaded(compiler: list[str]) -> ctypes.CDLL:
    """The library of the cache folder, made if it is not there or damaged.

    Raises:
        OSError: if it can neither be written nor loaded.
        subprocess.SubprocessError: if it does not compile.
    """
    made_of = [_SOURCE.read_text(), shlex.join([*compiler, *_FLAGS]), platform.machine(), _processor()]
    name = f"pool-{_digest(chr(0).join(made_of).encode())[:16]}.so"
    try:
        kept = user_cache() / name
        if not _is_whole(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
                made = _compiled(compiler, Path(scratch) / name)
                _digest_of(made).write_text(_digest(made.read_bytes()))
                made.replace(kept)
                _digest_of(made).replace(_digest_of(kept))
        return ctypes.CDLL(str(kept))
    except (OSError, RuntimeError):  # no home, or none that can be written to or loaded from
        with tempfile.TemporaryDirectory() as scratch:  # once it is loaded, its file is not needed
            return ctypes.CDLL(str(_compiled(compiler, Path(scratch) / name)))


def _is_whole(kept: Path) -> bool:
    """Whether the library is there as it was written: to run a damaged one would end the process."""
    try:
        return _digest_of(kept).read_text() == _digest(kept.read_bytes())
    except (OSError, UnicodeDecodeError):
        return False


def _digest_of(kept: Path) -> Path:
    return kept.with_suffix(".sha256")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _compiled(compiler: list[str], made: Path) -> Path:
    """Write the library.

    Raises:
        OSError: if the compiler cannot be started.
        subprocess.SubprocessError: if it fails.
    """
    for tuned in _TUNED:
        command = [*compiler, *_FLAGS, *filter(None, [tuned]), str(_SOURCE), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False)
        if done.returncode == 0:
            break
    done.check_returncode()
    return made


def _processor() -> str:
    """What tells processors apart that do not have the same instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
