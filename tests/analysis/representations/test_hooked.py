"""A hooked copy hands over each run of a layer; the model stays as it was."""

import pytest
import torch
from torch import nn

from dynpool.analysis.representations.hooked import HookedModel
from tests.analysis.representations.small import batches, network


class Twice(nn.Module):
    """Runs one layer twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x))


def test_each_run_is_handed_over_in_order():
    model, seen = Twice().train(), []
    hooked = HookedModel(model, ["conv"], "batches")
    hooked.receive = lambda name, path, output: seen.append((name, path, output))
    images = batches()[0][0]
    for _ in range(2):
        seen.clear()
        output = hooked(images)
        assert [(name, path) for name, path, _ in seen] == [("conv", "conv"), ("conv#2", "conv")]
        torch.testing.assert_close(seen[1][2], output)
    assert not output.requires_grad
    assert model.training
    assert not model.conv._forward_hooks


def test_errors_say_what_to_do():
    hooked = HookedModel(network(), ["0"], "mine")
    with pytest.raises(ValueError, match="mine: the model cannot run on images of 3x12x12"):
        hooked(torch.zeros(2, 3, 12, 12))

    def full(*_):
        raise torch.OutOfMemoryError

    hooked.receive = full
    with pytest.raises(MemoryError, match="no memory left on cpu for 2 images: give smaller batches"):
        hooked(torch.zeros(2, 1, 12, 12))
