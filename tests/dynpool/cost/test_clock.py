"""Operations are timed by module and name."""

import time

import pytest
import torch
from torch import nn

from dynpool.cost.clock import Clock, seconds_of

CPU = torch.device("cpu")


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x)) + 1


def ticking(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    now = [0.0]

    def perf_counter() -> float:
        now[0] += step
        return now[0]

    monkeypatch.setattr("dynpool.cost.clock.time.perf_counter", perf_counter)


def test_calls_of_a_module_are_added_and_its_hooks_are_removed(monkeypatch):
    model = Twice()
    ticking(monkeypatch, 0.5)
    watch = Clock(CPU)
    x = torch.ones(2, 4)
    with torch.no_grad(), watch.watching(model):
        model(x)
    assert watch.seconds() == {("layer", "aten.t"): 1.0, ("layer", "aten.addmm"): 1.0, ("", "aten.add"): 0.5}
    assert not model.layer._forward_pre_hooks
    assert not model.layer._forward_hooks


def test_hooks_are_removed_after_an_error():
    model = Twice()
    with pytest.raises(RuntimeError), Clock(CPU).watching(model):
        model(torch.ones(2, 5))
    assert not model.layer._forward_pre_hooks


def test_a_call_is_timed():
    assert 0.02 <= seconds_of(lambda: time.sleep(0.02), CPU) < 2
