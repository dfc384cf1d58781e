"""The moving average of a network: weights averaged, alphas copied."""

import torch
from torch import nn

import dynpool
from dynpool.baselines import njet_network
from dynpool.resizers import learned_kernels, learned_resizers
from dynpool.training.averaging import AveragedModel


def test_weights_are_averaged_and_alphas_are_those_of_the_network(model: nn.Module) -> None:
    converted = dynpool.convert(model, (1, 16, 16))
    average = AveragedModel(converted, decay=0.75)
    kernel = next(converted.parameters())
    expected = kernel.detach().clone()
    for value in (1.0, 2.0):
        with torch.no_grad():
            kernel.fill_(value)
            for resizer in learned_resizers(converted, owners=True).values():
                resizer.shared_alpha().add_(0.25)
        average.update(converted)
        expected = 0.75 * expected + 0.25 * value
    assert torch.allclose(next(average.model.parameters()), expected)
    sizes = dynpool.sizes(converted, (1, 16, 16))
    assert dynpool.sizes(average.model, (1, 16, 16)) == sizes
    assert sizes != dynpool.sizes(dynpool.convert(model, (1, 16, 16)), (1, 16, 16)), "they have moved"
    assert average.model(torch.rand(2, 1, 16, 16)).shape == (2, 10)
    assert (kernel == 2).all(), "the network is left as it is"


def test_what_determines_learned_kernels_is_copied(model: nn.Module) -> None:
    network, _ = njet_network(model, (1, 16, 16))
    average = AveragedModel(network, decay=0.75)
    for layer in learned_kernels(network).values():
        with torch.no_grad():
            layer.size_parameters()[0].add_(0.5)
    average.update(network)
    pairs = zip(learned_kernels(network).values(), learned_kernels(average.model).values(), strict=True)
    for live, averaged in pairs:
        assert torch.equal(averaged.size_parameters()[0], live.size_parameters()[0])
