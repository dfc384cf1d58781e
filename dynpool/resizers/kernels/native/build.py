"""The C code of :mod:`.launch`, compiled where a machine first needs it, with that machine's C compiler.

It takes less than a second. The library is kept in a folder of its own in the user's cache, under a name that depends
on the code, the compiler and the processor. Where that folder cannot be written to, or others could write to it, every
process compiles its own.
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
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from dynpool.common.user_cache import user_cache

__all__ = ["library", "problem"]

_SOURCE = Path(__file__).with_name("pool.c")
_FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-w")
_TUNED = ("-march=native", "-mcpu=native", "")  # the first that the compiler knows for this processor
_TIME_LIMIT = 120  # seconds, for a second of work


@lru_cache(maxsize=1)
def _built() -> tuple[ctypes.CDLL | None, str]:
    """The library, or None and in one line why there is none. A compiler that fails is warned of."""
    if sys.platform == "win32":
        return None, "there is no support for Windows"
    try:
        compiler = _compiler()
    except ValueError as error:
        return None, _warned(f"$CC: {error}")
    if not compiler:
        return None, "no C compiler was found: neither $CC nor cc, gcc or clang"
    try:
        return _loaded(compiler), ""
    except subprocess.TimeoutExpired:
        said = f"not finished after {_TIME_LIMIT} seconds"
    except (OSError, subprocess.SubprocessError) as error:
        said = " ".join((getattr(error, "stderr", None) or str(error)).split())[-300:]
    return None, _warned(f"{' '.join(compiler)}: {said}")


def _warned(problem: str) -> str:
    warnings.warn(
        f"the operator's C code cannot be compiled ({problem}): on a CPU it runs as plain PyTorch, which is slower",
        RuntimeWarning,
        stacklevel=2,
    )
    return problem


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
    with suppress(OSError, RuntimeError):  # no home, none that is the user's alone, or none to load from
        kept = _own_folder() / name
        if _is_whole(kept):
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory() as scratch:
        made = _compiled(compiler, Path(scratch) / name)
        with suppress(OSError, RuntimeError):
            _keep(made, _own_folder() / name)
        return ctypes.CDLL(str(made))  # once it is loaded, its file is not needed


def _own_folder() -> Path:
    """The folder of libraries, made if it is not there.

    Raises:
        OSError: if it cannot be made, or if others can write to it: what is loaded from it runs as the user.
        RuntimeError: if the user has no home.
    """
    folder = user_cache() / "native"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is open to others")
    return folder


def _keep(made: Path, kept: Path) -> None:
    """Copy the library and its digest, each of them whole or not at all."""
    for name, content in ((kept, made.read_bytes()), (_digest_of(kept), _digest(made.read_bytes()).encode())):
        part = name.with_name(f"{name.name}.{os.getpid()}")
        try:
            part.write_bytes(content)
            part.replace(name)
        finally:
            part.unlink(missing_ok=True)


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
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIME_LIMIT, check=False
        )
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
