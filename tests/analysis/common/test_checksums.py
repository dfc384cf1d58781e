"""Checksums: any change of a value, a key or a character is found, and files without one are told apart."""

import hashlib

import pytest

from dynpool.analysis.common.checksums import (
    CHECKSUM,
    file_digest,
    is_intact,
    text_is_intact,
    with_checksum,
    with_heading,
)


def test_values_match_their_checksum_until_one_of_them_changes():
    row = with_checksum({"epoch": 1, "loss": "0.5"})
    assert is_intact(row) is True
    assert is_intact({**row, "loss": "0.6"}) is False
    assert is_intact({"epoch": 1, "lost": "0.5", CHECKSUM: row[CHECKSUM]}) is False
    assert is_intact({"epoch": 1, "loss": "0.5"}) is None


@pytest.mark.parametrize("place", range(12))
def test_every_changed_character_of_a_text_is_found(place):
    text = "lr: 0.1\n\n# x"
    written = with_heading(text)
    assert text_is_intact(written) is True
    assert text_is_intact(text) is None
    at = len(written) - len(text) + place
    changed = written[:at] + chr(ord(written[at]) + 1) + written[at + 1 :]
    assert text_is_intact(changed) is False


def test_a_digest_is_that_of_the_files_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"\x00" * 100_000)
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"\x00" * 100_000).hexdigest()
