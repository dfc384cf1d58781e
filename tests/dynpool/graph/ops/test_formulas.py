"""Formulas of users count in totals, in place and for a batch too, and bad ones are refused."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.graph.ops import Operation, formulas

FFT = "aten::_fft_r2c"


class Spectrum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.relu = nn.Conv2d(3, 8, 3, padding=1), dynpool.DynOPool2d(), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(self.relu(self.pool(self.conv(x)))).abs()


@pytest.fixture(autouse=True)
def none_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas, "_FORMULAS", {})


def of_fft(op: Operation) -> int:
    *planes, h, w = op["self"].shape
    return math.prod(planes) * round(h * w * math.log2(h * w))


def test_a_formula_counts_wherever_macs_are_counted() -> None:
    model, size = Spectrum(), (3, 32, 32)
    before = dynpool.count_macs(model, size)
    assert before.large_not_counted == ("aten._fft_r2c",)
    dynpool.register_macs(FFT)(of_fft)
    dynpool.register_macs("aten::relu")(lambda op: math.prod(op.inputs[0].shape))
    after, fft, relu = dynpool.count_macs(model, size), 8 * 16 * 16 * 8, 8 * 16 * 16  # the pool halves the sides
    assert after.by_operator == {"aten.convolution": before.total, "aten.relu_": relu, "aten._fft_r2c": fft}
    assert after.total == dynpool.count_macs(model, size, batch=5).total == before.total + fft + relu
    assert (after.large_not_counted, after.without) == ((), "")
    assert receptive_field(model, size).total_macs == after.total
    loss = dynpool.GMACsLoss(model, size)
    dynpool.set_sizes(model, {"pool": (20, 8)}, input_size=size)
    changed = 8 * (round(160 * math.log2(160)) + 160)
    assert loss.cost.macs() == dynpool.count_macs(model, size).total == before.total + changed
    loss().backward()
    alpha = dynpool.resolutions(model)["pool"].alpha
    assert alpha.grad is not None
    assert (alpha.grad < 0).all()


@pytest.mark.parametrize("wrong", [-1, 0.5, True, None])
def test_a_formula_gives_a_count(wrong: Any) -> None:
    dynpool.register_macs(FFT)(lambda op: wrong)
    with pytest.raises(ValueError, match=r"the formula of aten\._fft_r2c must return the MACs as an int of at least 0"):
        dynpool.count_macs(Spectrum(), (3, 8, 8))


def test_names_and_formulas_are_checked() -> None:
    with pytest.raises(TypeError, match="register_macs: names of operations are missing"):
        dynpool.register_macs()
    with pytest.raises(TypeError, match="register_macs: names must be strings"):
        dynpool.register_macs(torch.relu)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of the form \"namespace::name\", got 'fft'"):
        dynpool.register_macs("fft")
    with pytest.raises(ValueError, match="must be operations that PyTorch knows, got 'aten::nothing'"):
        dynpool.register_macs("aten::nothing")
    with pytest.raises(TypeError, match="a formula must be callable, got 3"):
        dynpool.register_macs(FFT)(3)  # type: ignore[arg-type]
