"""A cache entry is used while it is whole and fits its source, else rebuilt."""

import errno
import os

import numpy as np
import pytest

from dynpool.training.cache import cache_folder, cached, files_fingerprint
from dynpool.training.errors import DiskFullError


@pytest.fixture
def build():
    class Build:
        calls = 0

        def __call__(self):
            self.calls += 1
            return {"images": np.arange(1000, dtype=np.uint8), "labels": np.arange(10)}

    return Build()


def test_built_once(tmp_path, build):
    for _ in range(3):
        arrays = cached(tmp_path, "a", "mark", build)
        assert np.array_equal(arrays["images"], np.arange(1000, dtype=np.uint8))
    assert build.calls == 1


def test_rebuilt_when_the_source_changes(tmp_path, build):
    cached(tmp_path, "a", "mark", build)
    cached(tmp_path, "a", "other", build)
    assert build.calls == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "index", "index of another shape"])
def test_damage_is_found_and_rebuilt(tmp_path, build, damage):
    cached(tmp_path, "a", "mark", build)
    images, index = tmp_path / "a" / "images.npy", tmp_path / "a" / "index.json"
    content = bytearray(images.read_bytes())
    if damage == "flip":
        content[500] ^= 1
        images.write_bytes(content)
    elif damage == "truncate":
        images.write_bytes(content[:-1])
    elif damage == "remove":
        images.unlink()
    else:
        index.write_text("{" if damage == "index" else "[]")
    arrays = cached(tmp_path, "a", "mark", build)
    assert np.array_equal(arrays["images"], np.arange(1000, dtype=np.uint8))
    assert build.calls == 2
    cached(tmp_path, "a", "mark", build)
    assert build.calls == 2


def test_a_full_disk_leaves_no_entry(tmp_path, build, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError, match="No space left"):
            cached(tmp_path, "a", "mark", build)
    assert list((tmp_path / "a").iterdir()) == []
    cached(tmp_path, "a", "mark", build)
    assert build.calls == 2


def test_fingerprint_follows_names_sizes_and_times(tmp_path):
    file = tmp_path / "x.png"
    file.write_bytes(b"12")
    os.utime(file, ns=(1, 1))
    first = files_fingerprint(tmp_path, [file], "32")
    assert first == files_fingerprint(tmp_path, [file], "32")
    assert first != files_fingerprint(tmp_path, [file], "64")
    os.utime(file, ns=(1, 2))
    assert first != files_fingerprint(tmp_path, [file], "32")


def test_where_the_cache_lies(monkeypatch, tmp_path):
    assert cache_folder("here").name == "here"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "dynpool"
