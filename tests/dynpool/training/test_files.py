"""Files of a run: read, or refused by name; written whole, by one process at a time."""

import pytest
import yaml

from dynpool.analysis.common.checksums import text_is_intact
from dynpool.training.errors import RunFolderError, UnwritableError
from dynpool.training.files import locked, make_folder, read_bytes, write_yaml


def test_a_file_is_read_whole_and_a_missing_one_is_none(tmp_path):
    (tmp_path / "file").write_bytes(b"\x00\xff")
    assert read_bytes(tmp_path / "file") == b"\x00\xff"
    assert read_bytes(tmp_path / "missing") is None


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=f"{tmp_path}: it is a folder"):
        read_bytes(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match=f"{tmp_path / 'file'}"):
        make_folder(tmp_path / "file" / "run")


def test_a_yaml_file_keeps_its_values_in_order_under_a_checksum(tmp_path):
    values = {"name": "run", "epochs": 3, "alpha": [1.5, 2.0]}
    write_yaml(tmp_path / "config.yaml", values)
    text = (tmp_path / "config.yaml").read_text()
    assert list(yaml.safe_load(text).items()) == list(values.items())
    assert text_is_intact(text)
    assert text_is_intact(text.replace("epochs: 3", "epochs: 4")) is False


def test_a_lock_excludes_others_until_it_is_left_and_removes_what_killed_processes_left(tmp_path):
    left, kept = tmp_path / ".metrics.csv.abc.part", tmp_path / "metrics.csv"
    left.touch()
    kept.touch()
    with locked(tmp_path):
        assert not left.exists()
        assert kept.exists()
        with pytest.raises(RunFolderError, match="being written by another process"), locked(tmp_path):
            raise AssertionError
    with locked(tmp_path):
        pass
