"""A copy of a run folder at an fsspec URL, from which a run can continue on another machine.

objects/SHA256  one file of the run each, by its content
manifest-00000012.json  {"files": {name: SHA-256}, "checksum": ...}, written when all of its objects are there

A manifest that was cut off, or one of whose objects was, does not match its checksums and is passed over: the one
before it counts, which is kept, with its objects, until a newer one is whole.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import fsspec

from dynpool.analysis.common.checksums import file_digest, is_intact, with_checksum

from ..errors import ConfigError
from ..files import make_folder

__all__ = ["Mirror"]

log = logging.getLogger(__name__)

KEPT = 2  # manifests


class Mirror:
    """A copy of a run folder at a URL.

    Args:
        url: of the copy, such as "s3://bucket/comparison/human-seed0"; nothing is made there yet.

    Raises:
        ConfigError: if no installed package can open such a URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self._fs, self._path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"storage is {url!r}: {error}", "storage") from None
        self._kept: dict[int, Mapping[str, str]] | None = None  # manifests by their numbers, once they were read

    @property
    def holds_a_copy(self) -> bool:
        """Whether there is a whole copy."""
        return bool(self._manifests())

    def upload(self, folder: Path) -> None:
        """Copy the files of a folder, those that have changed. Raises OSError if that fails; the last copy stays."""
        files = {
            path.relative_to(folder).as_posix(): file_digest(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        kept = self._manifests()
        if kept and files == kept[max(kept)]:
            return
        there = {digest for manifest in kept.values() for digest in manifest.values()}
        self._fs.makedirs(f"{self._path}/objects", exist_ok=True)
        for name, digest in files.items():
            if digest not in there:
                self._fs.put_file(str(folder / name), self._object(digest))
        number = max(kept, default=0) + 1
        self._fs.pipe_file(self._manifest(number), json.dumps(with_checksum({"files": files})).encode())
        kept[number] = files
        self._remove_old(kept)

    def _remove_old(self, kept: dict[int, Mapping[str, str]]) -> None:
        """Remove all manifests but the newest two, then the objects that only those had."""
        gone = {number: kept.pop(number) for number in sorted(kept)[:-KEPT]}
        needed = {digest for manifest in kept.values() for digest in manifest.values()}
        for number in gone:
            self._fs.rm_file(self._manifest(number))
        for digest in {digest for manifest in gone.values() for digest in manifest.values()} - needed:
            self._fs.rm_file(self._object(digest))

    def download(self, folder: Path) -> bool:
        """Copy the newest whole copy into a folder; gives whether there is one. Files of other names are left there."""
        make_folder(folder)
        kept = self._manifests()
        for number, files in sorted(kept.items(), reverse=True):
            with tempfile.TemporaryDirectory(dir=folder, prefix=".download.") as held:
                if self._fetched(files, Path(held)):
                    for name, digest in files.items():
                        make_folder((folder / name).parent)
                        shutil.copyfile(Path(held) / digest, Path(held) / "whole")
                        (Path(held) / "whole").replace(folder / name)
                    return True
            del kept[number]  # its objects are sent again
            log.warning("%s: incomplete or damaged; the copy before it is used", self._manifest(number))
        return False

    def _fetched(self, files: Mapping[str, str], folder: Path) -> bool:
        """Fetch the objects of a manifest; gives whether all are as they were written."""
        for digest in files.values():
            try:
                self._fs.get_file(self._object(digest), str(folder / digest))
            except FileNotFoundError:
                return False
            if file_digest(folder / digest) != digest:
                return False
        return True

    def _manifests(self) -> dict[int, Mapping[str, str]]:
        """The manifests that are whole, by their numbers."""
        if self._kept is None:
            self._fs.invalidate_cache()
            names = self._fs.ls(self._path, detail=False) if self._fs.exists(self._path) else []
            numbers = [Path(name).stem.partition("-")[2] for name in names if Path(name).name.startswith("manifest-")]
            found = {int(number): self._read(int(number)) for number in numbers if number.isdecimal()}
            self._kept = {number: files for number, files in found.items() if files is not None}
        return self._kept

    def _read(self, number: int) -> Mapping[str, str] | None:
        """The files of a manifest; None if it is damaged."""
        try:
            content = json.loads(self._fs.cat_file(self._manifest(number)))
        except ValueError:
            return None
        return content["files"] if isinstance(content, dict) and is_intact(content) else None

    def _object(self, digest: str) -> str:
        return f"{self._path}/objects/{digest}"

    def _manifest(self, number: int) -> str:
        return f"{self._path}/manifest-{number:08d}.json"
