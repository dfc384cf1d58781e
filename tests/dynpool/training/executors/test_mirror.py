"""A copy of a run folder: a half-written one is never taken for whole, and old ones are removed."""

import logging
from pathlib import Path

import pytest

from dynpool.training.errors import ConfigError
from dynpool.training.executors.mirror import Mirror


def written(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/copy"


def copied(url, folder):
    assert Mirror(url).download(folder)
    return read(folder)


def test_a_copy_has_the_files_of_the_run_and_no_others(tmp_path, url):
    run = written(tmp_path / "run", config="a", metrics="a", checkpoints__last="b")
    written(run, **{".lock": "", ".last.pt.x.part": "half"})
    assert not Mirror(url).download(tmp_path / "before")
    Mirror(url).upload(run)
    assert copied(url, tmp_path / "again") == {"checkpoints/last": "b", "config": "a", "metrics": "a"}


def test_old_copies_are_removed_and_unchanged_files_not_sent_again(tmp_path, url):
    run, mirror = written(tmp_path / "run", config="same"), Mirror(url)
    for number in range(5):
        mirror.upload(written(run, last=str(number)))
    (first,) = [p for p in (tmp_path / "copy" / "objects").iterdir() if p.read_text() == "same"]
    begun = first.stat().st_mtime_ns
    Mirror(url).upload(written(run, last="5"))
    assert first.stat().st_mtime_ns == begun
    assert sorted(p.read_text() for p in (tmp_path / "copy" / "objects").iterdir()) == ["4", "5", "same"]
    assert len(list((tmp_path / "copy").glob("manifest-*"))) == 2
    assert copied(url, tmp_path / "again") == {"config": "same", "last": "5"}


@pytest.mark.parametrize("damage", ["no manifest", "cut manifest", "cut object", "no object"])
def test_of_an_upload_that_broke_off_nothing_is_used(tmp_path, url, damage, caplog):
    run = written(tmp_path / "run", config="same", last="1")
    Mirror(url).upload(run)
    Mirror(url).upload(written(run, last="2"))
    manifest = max((tmp_path / "copy").glob("manifest-*"))
    (newest,) = [p for p in (tmp_path / "copy" / "objects").iterdir() if p.read_text() == "2"]
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "cut manifest":
        manifest.write_bytes(manifest.read_bytes()[:-9])
    elif damage == "cut object":
        newest.write_text("")
    else:
        newest.unlink()
    with caplog.at_level(logging.WARNING):
        assert copied(url, tmp_path / "again") == {"config": "same", "last": "1"}
    assert ("incomplete or damaged" in caplog.text) == ("object" in damage)
    mirror = Mirror(url)
    mirror.download(tmp_path / "task")
    mirror.upload(written(run, last="2"))  # again
    assert copied(url, tmp_path / "later") == {"config": "same", "last": "2"}


def test_an_upload_that_fails_leaves_the_last_copy(tmp_path, url, monkeypatch):
    run, mirror = written(tmp_path / "run", last="1"), Mirror(url)
    mirror.upload(run)
    monkeypatch.setattr(type(mirror._fs), "pipe_file", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        mirror.upload(written(run, last="2"))
    assert copied(url, tmp_path / "again") == {"last": "1"}


def test_a_url_that_nothing_opens_is_refused():
    with pytest.raises(ConfigError, match="storage is 'nosuch://a'"):
        Mirror("nosuch://a")


def test_paths_of_other_folders_are_left(tmp_path, url):
    Mirror(url).upload(written(tmp_path / "run", last="1"))
    again = written(tmp_path / "again", mine="x")
    assert copied(url, again) == {"last": "1", "mine": "x"}
    assert not list(Path(again).glob(".download*"))
