"""Zip archives, as torch.save and numpy.savez write them."""

import zipfile
from pathlib import Path

__all__ = ["DamagedArchiveError", "check_archive"]


class DamagedArchiveError(ValueError):
    """A file is no zip archive, or not as it was written."""


def check_archive(path: Path) -> list[str]:
    """The names of an archive's records, once all of them match their checksums.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedArchiveError: if it is no archive, is cut off, or a record does not match; the message says which.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names, broken = archive.namelist(), archive.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:  # one flipped bit makes names that are no text, records that claim to be encrypted ...
        raise DamagedArchiveError(str(error) or type(error).__name__) from error
    if broken is not None:
        raise DamagedArchiveError(f"the checksum of its record {broken!r} does not match")
    return names
