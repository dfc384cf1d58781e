"""A result is made once for what it was made from; a damaged one is made again."""

import json

import pytest

from dynpool.training.errors import UnwritableError
from dynpool.training.kept import MADE_FROM, kept_or_made


class Results:
    """Results that are numbered as they are made, in the file result.json of a folder."""

    def __init__(self, folder):
        self.folder, self.made = folder, 0

    def get(self, made_from):
        return kept_or_made(self.folder, made_from, self.read, self.make, self.write)

    def read(self):
        return json.loads((self.folder / "result.json").read_text())

    def make(self):
        self.made += 1
        return self.made

    def write(self, result):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "result.json").write_text(json.dumps(result))


def test_it_is_made_anew_only_from_something_else(tmp_path):
    results = Results(tmp_path / "new")
    assert results.get({"a": (1, 2)}) == (1, False)
    assert results.get({"a": [1, 2]}) == (1, True)
    assert results.get({"a": [1, 3]}) == (2, False)
    assert results.get({"a": [1, 2]}) == (3, False)


@pytest.mark.parametrize("file", ["result.json", MADE_FROM])
def test_a_damaged_one_is_made_again(tmp_path, file):
    results = Results(tmp_path)
    results.get({})
    (tmp_path / file).write_text("{")
    assert results.get({}) == (2, False)
    assert results.get({}) == (2, True)
    (tmp_path / file).unlink()
    assert results.get({}) == (3, False)


def test_a_result_that_was_not_written_whole_does_not_count(tmp_path):
    results = Results(tmp_path)
    results.get({"a": 1})

    def interrupted(result):
        results.write(result)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_or_made(tmp_path, {"a": 2}, results.read, results.make, interrupted)
    assert results.get({"a": 1}) == (3, False)  # the file is that of the other


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="cannot write"):
        Results(tmp_path / "file").get({})
