"""Examples of a run are read, or there are none."""

from typing import Any

import numpy as np

from dynpool.analysis.comparison.examples import EXAMPLES_FILE, read_examples


def test_examples_are_read_and_damaged_ones_are_none(tmp_path):
    assert read_examples(tmp_path) is None
    arrays: dict[str, Any] = {name: np.zeros((2, 4, 4), dtype=np.uint8) for name in ("masks", "predicted")}
    arrays |= {"images": np.ones((2, 1, 4, 4), dtype=np.uint8), "objects": np.array([[1, 2]])}
    np.savez(tmp_path / EXAMPLES_FILE, classes=np.array(["a", "b"]), fields=np.ones((1, 6)), **arrays)
    found = read_examples(tmp_path)
    assert found is not None
    assert found.classes == ("a", "b")
    assert found.objects.tolist() == [[1, 2]]
    whole = (tmp_path / EXAMPLES_FILE).read_bytes()
    directory = whole.index(b"PK\x01\x02")
    for at in range(directory, directory + 46):  # all that the archive says of its first record
        (tmp_path / EXAMPLES_FILE).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        damaged = read_examples(tmp_path)
        assert damaged is None or damaged.classes == ("a", "b")
    np.savez(tmp_path / EXAMPLES_FILE, **arrays)  # without classes
    assert read_examples(tmp_path) is None
