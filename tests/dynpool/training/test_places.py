"""Output paths are checked before the work starts, and nothing is left behind."""

from pathlib import Path

import pytest

from dynpool.training.errors import UnwritableError
from dynpool.training.places import check_file, check_folder


def test_what_can_be_written_passes_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("kept")
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "inside")
    check_file(tmp_path / "old.csv")
    check_file(tmp_path / "new.csv")
    check_file(tmp_path / "new" / "inside" / "new.csv", parents=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "kept"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "file", "is a file; choose a folder with --out"),
        (tmp_path / "file" / "inside", "is a file; choose a folder with --out"),
        (Path("/proc/inside"), "choose a place that can be written with --out"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(UnwritableError, match=f"cannot write {path}: .*{reason}"):
            check_folder(path)
    for path, reason in (
        (tmp_path, "it is a folder; name a file with --out"),
        (tmp_path / "missing" / "new.csv", "No such file or directory"),
        (tmp_path / "file" / "new.csv", "Not a directory"),
    ):
        with pytest.raises(UnwritableError, match=f"cannot write {path}: {reason}"):
            check_file(path)
