"""Moments are those of all pixels, and channels are grey or colour."""

import pytest
import torch

from dynpool.training.errors import DataError
from dynpool.training.moments import imagenet_moments, moments, with_channels


def test_moments_are_those_of_all_pixels():
    images = torch.randint(0, 256, (1500, 2, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = moments(images)
    values = images.double() / 255
    assert torch.allclose(mean.double().flatten(), values.mean((0, 2, 3)), atol=1e-7)
    assert torch.allclose(std.double().flatten(), values.std((0, 2, 3), correction=0), atol=1e-7)
    black, least = moments(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    assert float(black) == 0.0
    assert float(least) == pytest.approx(1 / 255)


def test_imagenet_has_three_channels():
    mean, std = imagenet_moments(3)
    assert mean.shape == std.shape == (1, 3, 1, 1)
    with pytest.raises(DataError, match="the images have 1"):
        imagenet_moments(1)


def test_channels():
    grey = torch.randint(0, 256, (2, 1, 3, 3), dtype=torch.uint8)
    colour = with_channels(grey, 3)
    assert torch.equal(colour, grey.repeat(1, 3, 1, 1))
    assert (with_channels(colour, 1).int() - grey.int()).abs().max() <= 1
    assert with_channels(grey, None) is grey


@pytest.mark.parametrize("size", [(4,), (4, 3, 5)])
def test_moments_of_other_axes_are_those_of_as_many_pixels(size):
    values = torch.randint(0, 256, (6, 2, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = moments(values)
    assert mean.shape == std.shape == (1, 2, *[1] * len(size))
    flat = moments(values.flatten(2)[..., None])
    assert torch.equal(mean.flatten(), flat[0].flatten())
    assert torch.equal(std.flatten(), flat[1].flatten())
