"""Where a model's code reads a value that a pass without data has not, what was assumed is told."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import dynpool
from dynpool.analysis import receptive_field


class Exits(nn.Module):
    """Leaves early where it is sure."""

    def __init__(self, *, sure: str = "early") -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.h1, self.h2 = nn.Linear(8, 4), nn.Linear(8, 4)
        self.sure = sure

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y: Tensor = self.h1(x.mean((2, 3)))
        if (y.softmax(1).max() > 2) if self.sure == "early" else not (y.softmax(1).max() < 2):
            return y
        return self.h2(self.b(x).mean((2, 3)))


@pytest.mark.parametrize("sure", ["early", "late"])
def test_the_branch_that_executes_more_is_taken_and_told(sure: str) -> None:
    model = Exits(sure=sure).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(torch.randn(1, 3, 32, 32))
    report = dynpool.count_macs(model, (3, 32, 32))
    assert report.total == flops.get_total_flops() // 2
    fields = receptive_field(model, (3, 32, 32))
    assert [row.name for row in fields.layers] == ["a", "b"]
    converted = dynpool.conversion_report(dynpool.convert(model, (3, 32, 32)))
    for said in (report, fields, converted):
        (note,) = said.notes
        assert "test_values_read.py (if (y.softmax(1).max() > 2)" in note
        assert note.endswith(f"{sure != 'early'} was assumed")
        assert note in str(said)


class Checks(nn.Module):
    """Refuses what is not finite, and loops as often as a tensor says."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.max() > 1e6:
            raise ValueError("too large")
        if (x != x).any():
            x = torch.nan_to_num(x)
        for _ in range(int(x.argmax())):
            x = self.conv(x)
        return x * x.mean().item()


def test_checks_do_not_end_the_pass() -> None:
    report = dynpool.count_macs(Checks(), (3, 16, 16))
    assert report.total == 8 * 8 * 27 * 3
    assert [note.rpartition(": ")[2] for note in report.notes] == [
        "False was assumed",
        "True was assumed",
        "1 was assumed",
        "1.0 was assumed",
    ]


def test_values_that_the_pass_knows_are_not_assumed() -> None:
    class Known(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n = torch.tensor([2, 3]).prod()
            return x[..., : int(n)] if n > 5 else x

    graph = dynpool.trace(Known(), (3, 16, 16))
    assert graph.notes == []
    assert graph.values[graph.nodes[-1].outputs[0]].shape == (1, 3, 16, 6)
