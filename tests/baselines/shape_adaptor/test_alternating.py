"""An optimiser of the alphas that steps once in several batches."""

import copy

import pytest
import torch
from torch import nn

import dynpool
from dynpool.baselines import EveryFewSteps, ShapeAdaptor2d, alpha_optimizer


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), ShapeAdaptor2d(alpha=0.0), nn.Conv2d(4, 4, 3), ShapeAdaptor2d())


def batch(net: nn.Sequential, seed: int) -> None:
    net(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))).square().mean().backward()


def test_alphas_step_with_every_third_batch_along_its_gradient_alone() -> None:
    net = model()
    optimizer = alpha_optimizer(net, lr=0.5, momentum=0.0, every=3)
    alphas = [m.shared_alpha() for m in net if isinstance(m, ShapeAdaptor2d)]
    before = [a.detach().clone() for a in alphas]
    for step in range(3):
        assert all(torch.equal(a, b) for a, b in zip(alphas, before, strict=True))
        optimizer.zero_grad()
        batch(net, step)
        gradients = [a.grad.clone() for a in alphas if a.grad is not None]
        assert optimizer.step() is (step == 2)
    for alpha, old, gradient in zip(alphas, before, gradients, strict=True):
        torch.testing.assert_close(alpha.detach(), old - 0.5 * gradient)
    assert len(gradients) == 2


def test_weights_and_alphas_are_apart() -> None:
    net = model()
    mine = {id(p) for g in alpha_optimizer(net).optimizer.param_groups for p in g["params"]}
    weights = {id(p) for p in dynpool.parameter_groups(net)[0]["params"]}
    assert not mine & weights
    assert mine | weights == {id(p) for p in net.parameters()}


def test_state_dict_restores_the_optimiser() -> None:
    net = model()
    optimizer = alpha_optimizer(net, every=3)
    for step in range(4):
        optimizer.zero_grad()
        batch(net, step)
        optimizer.step()
    twin = copy.deepcopy(net)
    other = alpha_optimizer(twin, every=3)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(4, 6):
        for n, o in ((net, optimizer), (twin, other)):
            o.zero_grad()
            batch(n, step)
            assert o.step() is (step == 5)
    assert [p.tolist() for p in dynpool.parameter_groups(net)[1]["params"]] == [
        p.tolist() for p in dynpool.parameter_groups(twin)[1]["params"]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every=0"),
        ({"lr": -1.0}, "lr="),
        ({"lr": float("nan")}, "lr="),
        ({"momentum": 1.0}, "mom"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alpha_optimizer(model(), **arguments)
    with pytest.raises(ValueError, match="no learned resizer"):
        alpha_optimizer(nn.Linear(2, 2))
    assert EveryFewSteps(torch.optim.SGD(model().parameters(), lr=0.1), every=1).step() is True
