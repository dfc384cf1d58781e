"""The files of a run while a new one replaces them: they are put back if the new one is refused before it has begun."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import writing

__all__ = ["Replaced"]


class Replaced:
    """The files of a run that a new run replaces.

    They are held in a folder of their own, to which they are moved one by one under another name. So a process that is
    killed leaves either all of them there, or some there and the others in their place; `put_back` is right for both.

    Args:
        folder: of the run.
        files: gives the files and folders of a run that are there: all that is ever removed.
    """

    def __init__(self, folder: Path, files: Callable[[], Iterable[Path]]) -> None:
        self._folder, self._files = folder, files
        self._whole, self._moving = folder / ".replaced", folder / ".moving"

    def set_aside(self) -> None:
        """Move the files out of the way of a new run.

        Raises:
            UnwritableError: if that is not possible.
        """
        with writing(self._folder):
            self._moving.mkdir()
            for file in self._files():
                _move(file, self._moving / file.relative_to(self._folder))
            self._moving.replace(self._whole)

    def put_back(self) -> None:
        """Put the files back in place of those of the new run, if there is one that has not begun.

        Raises:
            UnwritableError: if that is not possible.
        """
        with writing(self._folder):
            if self._whole.exists():
                for file in self._files():
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
                self._whole.replace(self._moving)
            for file in [path for path in self._moving.rglob("*") if path.is_file()]:
                _move(file, self._folder / file.relative_to(self._moving))
            if self._moving.exists():
                shutil.rmtree(self._moving)

    @contextmanager
    def until_begun(self) -> Iterator[None]:
        """A context in which a new run may be refused; after it the replaced files are gone."""
        try:
            yield
        except BaseException:
            self.put_back()
            raise
        shutil.rmtree(self._whole, ignore_errors=True)


def _move(file: Path, place: Path) -> None:
    """Rename a file or folder; the folder of its place is made."""
    place.parent.mkdir(parents=True, exist_ok=True)
    file.replace(place)
