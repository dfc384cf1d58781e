"""An archive is as it was written, or refused by one error, whatever is damaged."""

import io
import zipfile
from pathlib import Path

import pytest
import torch

from dynpool.common.archives import DamagedArchiveError, check_archive


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save({"a": torch.arange(6.0)}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_the_names_of_whole_records(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert check_archive(path) == archive.namelist()


def test_no_flipped_bit_of_its_directory_is_another_error(path: Path) -> None:
    whole, found = path.read_bytes(), set()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        begin = archive.start_dir
    for bit in range(8 * begin, 8 * len(whole)):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        try:
            check_archive(path)  # dates, for example, do not matter
        except DamagedArchiveError as error:
            found.add(type(error.__cause__).__name__ if str(error) else "an error without a word")
    assert "an error without a word" not in found
    assert found >= {"BadZipFile", "NotImplementedError", "RuntimeError", "UnicodeDecodeError"}


def test_a_record_that_does_not_match_is_named(path: Path) -> None:
    values = torch.arange(6.0).numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(values, values[::-1]))
    with pytest.raises(DamagedArchiveError, match=r"^the checksum of its record 'a/data/0' does not match$"):
        check_archive(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_what_is_no_archive(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedArchiveError, match="zip"):
        check_archive(path)


def test_a_missing_file_is_not_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_archive(tmp_path / "none.pt")
