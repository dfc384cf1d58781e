"""Means of an epoch are those over all images, whatever the batches."""

from types import SimpleNamespace

import pytest
import torch

from dynpool.training.config import RunConfig
from dynpool.training.data_config import DataConfig
from dynpool.training.tasks import task_of
from dynpool.training.totals import Totals

SCENE = RunConfig(task="segmentation", data=DataConfig("digits-scene"))


@pytest.mark.parametrize("processes", [1, 2])
def test_means_are_over_images_of_all_processes(processes):
    task = task_of(RunConfig(), 10)
    totals = Totals(Totals.empty(task), task)
    totals.add(torch.tensor(2.0), torch.tensor([3]), 4)
    totals.add(torch.tensor(5.0), torch.tensor([1]), 2, torch.tensor(3.0))
    totals.add_penalty(torch.tensor(0.5), 4)
    totals.add_penalty(torch.tensor(2.0), 2)
    other = torch.tensor([6.0, 3.0, 2.0, 6.0], dtype=torch.float64)
    accelerator = SimpleNamespace(num_processes=processes, reduce=lambda sums, how: sums + other)
    loss, penalty, figures = totals.means(accelerator)
    images = 6 * processes
    rest = (processes - 1) * other
    expected = ((4 * 2.0 + 3 * 5.0 + rest[0]) / images, (2.0 + 4.0 + rest[1]) / images, (4 + rest[2]) / images)
    assert (loss, penalty, figures["accuracy"]) == pytest.approx([float(value) for value in expected])


def test_confusion_matrices_are_summed():
    task = task_of(SCENE, 2)
    totals = Totals(Totals.empty(task), task)
    totals.add(torch.tensor(1.0), torch.tensor([4, 1, 0, 0]), 1)
    totals.add(torch.tensor(2.0), torch.tensor([1, 0, 2, 4]), 1)
    loss, _, figures = totals.means(SimpleNamespace(num_processes=1))
    assert loss == 1.5
    assert figures == {"accuracy": pytest.approx(9 / 12), "miou": pytest.approx((5 / 8 + 4 / 7) / 2)}
