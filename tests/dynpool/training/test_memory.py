"""Peak memory is that of the run: neither what was there before it nor what it has given back at the end hides it."""

import numpy as np
import pytest
import torch

from dynpool.training.memory import CLEAR, PeakMemory

MEGABYTE = 1 << 20
pytestmark = pytest.mark.skipif(not CLEAR.exists(), reason="known on Linux only")


def peak(memory: PeakMemory) -> int:
    found = memory.peak()
    assert found is not None
    return found


def filled(megabytes: int) -> torch.Tensor:
    return torch.ones(megabytes * MEGABYTE, dtype=torch.uint8)


def test_what_was_held_at_most_counts_though_it_is_gone():
    memory = PeakMemory(torch.device("cpu"))
    held = filled(200)
    del held
    assert 190 * MEGABYTE < peak(memory) < 300 * MEGABYTE


def test_what_was_there_before_does_not_count():
    held = filled(200)
    memory = PeakMemory(torch.device("cpu"))
    assert peak(memory) < 50 * MEGABYTE
    assert held.sum() == 200 * MEGABYTE


def test_what_an_earlier_run_left_unused_hides_nothing():
    """Many small blocks stay with the process when they are freed, and a later run would fill them unseen."""
    small = [torch.ones(4096) for _ in range(10_000)]  # 16 kB each
    last = torch.ones(4096)  # keeps the heap from shrinking by itself
    del small
    memory = PeakMemory(torch.device("cpu"))
    again = [torch.ones(4096) for _ in range(10_000)]
    assert peak(memory) > 140 * MEGABYTE
    assert len(again) * last.sum() > 0


def test_pages_of_files_do_not_count(tmp_path):
    """Such as the code that the first run of a process loads."""
    (tmp_path / "file").write_bytes(bytes(200 * MEGABYTE))
    memory = PeakMemory(torch.device("cpu"))
    pages = np.memmap(tmp_path / "file", mode="r")
    assert pages.sum() == 0
    assert peak(memory) < 50 * MEGABYTE
