"""Cache of decoded images: one uint8 array per split, verified before use and rebuilt if its source has changed."""

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dynpool.analysis.common.atomic_files import write_whole
from dynpool.common.user_cache import user_cache

from .errors import writing

__all__ = ["Arrays", "cache_folder", "cached", "files_fingerprint"]

log = logging.getLogger(__name__)

Arrays = Mapping[str, npt.NDArray[Any]]


def cache_folder(given: str | None) -> Path:
    """The cache folder: the given one, else $XDG_CACHE_HOME/dynpool, else ~/.cache/dynpool."""
    return user_cache() if given is None else Path(given)


def files_fingerprint(root: Path, files: Iterable[Path], extra: str) -> str:
    """SHA-256 of the names, sizes and modification times of files below `root`, and of `extra` (decoding settings)."""
    digest = hashlib.sha256(f"1 {root.resolve()} {extra}".encode())
    for file in sorted(files):
        stat = file.stat()
        digest.update(f"\n{file.relative_to(root).as_posix()} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def cached(folder: Path, name: str, fingerprint: str, build: Callable[[], Arrays]) -> Arrays:
    """The arrays that `build` returns, read from disk if they are there and intact.

    The entry <folder>/<name>/ holds one .npy file per key and index.json, which is written last and has the CRC-32 of
    every file. An entry without a matching index, or with a file that differs, is rebuilt. Cached arrays are
    memory-mapped (copy-on-write), so they may be larger than memory.

    Raises:
        DiskFullError, UnwritableError: if the cache cannot be written.
    """
    entry = folder / name
    found = _read(entry, fingerprint)
    if found is not None:
        return found
    arrays = build()
    with writing(entry, elsewhere="choose a folder that can be written with --data.cache"):
        entry.mkdir(parents=True, exist_ok=True)
        (entry / "index.json").unlink(missing_ok=True)
        for key, array in arrays.items():
            write_whole(entry / f"{key}.npy", partial(_save, array))
        checksums = {key: _checksum(entry / f"{key}.npy") for key in arrays}
        index = json.dumps({"fingerprint": fingerprint, "crc32": checksums}, indent=2)
        write_whole(entry / "index.json", f"{index}\n".encode())
    return _read(entry, fingerprint) or arrays


def _save(array: npt.NDArray[Any], file: IO[bytes]) -> None:
    np.save(file, array, allow_pickle=False)


def _read(entry: Path, fingerprint: str) -> Arrays | None:
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        if index["fingerprint"] != fingerprint:
            log.info("%s is rebuilt: its images have changed", entry)
            return None
        arrays = {}
        for key, checksum in index["crc32"].items():
            path = entry / f"{key}.npy"
            if _checksum(path) != checksum:
                log.warning("%s is damaged and is rebuilt", path)
                return None
            arrays[key] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged and is rebuilt: %s", entry, error)
        return None
    return arrays


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
