"""Products of continuous sizes."""

import pytest
import torch
from torch import nn

import dynpool
from dynpool.cost import CostModel
from dynpool.cost.surrogate import Surrogate


def test_a_term_is_a_coefficient_times_its_sizes_without_rounding():
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)]
    model = dynpool.convert(nn.Sequential(*layers), (3, 20, 12))
    (resizer,) = dynpool.resolutions(model).values()
    with torch.no_grad():
        resizer.alpha.copy_(torch.tensor([1.9, 2.3]))
    surrogate = Surrogate(CostModel(model, (3, 20, 12)))
    macs = [mac for mac in surrogate.graph.macs if mac.path == "2"]
    factors, whole = surrogate.factors(macs[0].axes)
    assert len(factors) == 2
    terms = surrogate.terms([(factors, 5.0), ((), 7.0)])
    found = surrogate(terms)
    assert found.tolist() == pytest.approx([5 * 20 / 1.9 * 12 / 2.3, 7.0])
    (gradient,) = torch.autograd.grad(found[0], resizer.alpha)
    assert gradient.tolist() == pytest.approx([-found[0].item() / 1.9, -found[0].item() / 2.3])
    assert whole == macs[0].macs // (9 * 16)  # the positions of the traced pass
