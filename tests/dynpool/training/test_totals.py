"""Means of an epoch are those over all images, whatever the batches."""

from types import SimpleNamespace

import pytest
import torch

from dynpool.training.totals import Totals


@pytest.mark.parametrize("processes", [1, 2])
def test_means_are_over_images_of_all_processes(processes):
    totals = Totals(torch.zeros(4, dtype=torch.float64))
    totals.add(torch.tensor(2.0), torch.tensor(3), 4)
    totals.add(torch.tensor(5.0), torch.tensor(1), 2)
    totals.add_penalty(torch.tensor(0.5), 4)
    totals.add_penalty(torch.tensor(2.0), 2)
    other = torch.tensor([6.0, 3.0, 2.0, 6.0], dtype=torch.float64)
    accelerator = SimpleNamespace(num_processes=processes, reduce=lambda sums, how: sums + other)
    found = totals.means(accelerator)
    images = 6 * processes
    rest = (processes - 1) * other
    expected = ((4 * 2.0 + 2 * 5.0 + rest[0]) / images, (2.0 + 4.0 + rest[1]) / images, (4 + rest[2]) / images)
    assert found == pytest.approx([float(value) for value in expected])
