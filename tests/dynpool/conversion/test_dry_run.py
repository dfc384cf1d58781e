"""What no trace of the original shows: sizes that a model's own code reads or insists on."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import dynpool
from dynpool.conversion.dry_run import find_limits
from dynpool.graph.survey import Survey
from dynpool.graph.tracer import trace_shapes
from dynpool.resolution.tree import resolution_tree


class Reads(nn.Module):
    """Its code works out the size of `patches` by itself, and insists on that of `deep`; `free` may move."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.free = nn.MaxPool2d(2)
        self.deep = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2] // 4, x.shape[-1] // 4
        x = self.patches(x).flatten(2).reshape(len(x), 4, h, w)
        x = self.deep(self.free(x))
        if x.shape[-2:] != (4, 4):
            raise ValueError("made for 4 x 4 pixels")
        return x


def test_what_does_not_run_at_other_sizes_is_held_and_the_rest_learns() -> None:
    learned = dynpool.convert(Reads(), (3, 64, 64))
    rows = {r.name: (r.status, r.why) for r in dynpool.conversion_report(learned).rows}
    assert [status for status, _ in rows.values()] == ["pinned", "converted", "pinned"]
    assert "shape '[3, 4, 16, 16]' is invalid" in rows["patches"][1]
    assert "made for 4 x 4 pixels" in rows["deep"][1]
    dynpool.set_sizes(learned, {"free": (7, 12)})
    assert learned(torch.zeros(2, 3, 64, 64)).shape == (2, 4, 4, 4)


class Head(nn.Module):
    """A head that only trains has no room for a smaller map; `refuses` to train altogether."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.last = nn.MaxPool2d(2)
        self.head = nn.Conv2d(3, 2, 16)
        self.refuses = refuses

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        if self.training and self.refuses:
            raise RuntimeError("for inference only")
        return self.last(x).mean() + self.head(x).mean() if self.training else self.last(x).mean()


def test_training_mode_is_tried_where_it_does_more() -> None:
    learned = dynpool.convert(Head(), (3, 32, 32))
    rows = {r.name: (r.status, r.why) for r in dynpool.conversion_report(learned).rows}
    assert [status for status, _ in rows.values()] == ["converted", "converted"]
    assert "height at least 16, width at least 16 (" in rows["pool"][1]
    assert "RuntimeError in head" in rows["pool"][1]
    free = dynpool.convert(Head(refuses=True), (3, 32, 32))
    assert [r.status for r in dynpool.conversion_report(free).rows] == ["converted", "converted"]


class Blocks(nn.Module):
    """Queries are strided, keys are not: as many blocks of 4 of the ones must come out as of 8 of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.MaxPool2d(2)
        self.queries = nn.Conv2d(3, 4, 1, stride=2)
        self.keys = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        n, _, h, w = x.shape
        q = self.queries(x).view(n, 4, h // 8, 4, w // 8, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, 4)
        k = self.keys(x).unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(-1, 64, 4)
        return (q @ k.mT).mean((1, 2))


def test_strided_queries_of_a_blocked_attention_keep_their_stride() -> None:
    learned = dynpool.convert(Blocks(), (3, 64, 64))
    rows = {r.name: r.status for r in dynpool.conversion_report(learned).rows}
    assert rows == {"stem": "converted", "queries": "left alone"}
    dynpool.set_sizes(learned, {"stem": (16, 40)})
    assert learned(torch.randn(1, 3, 64, 64)).shape == (2 * 5,)


def test_a_trial_leaves_the_model_as_it_is() -> None:
    learned = dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2)), (3, 32, 32))
    tree = resolution_tree(learned)
    assert tree is not None
    before = {k: v.clone() for k, v in learned.state_dict().items()}
    shapes = trace_shapes(learned, (3, 32, 32))
    assert find_limits(Survey(learned, tree.input_size), tree) == {}
    assert trace_shapes(learned, (3, 32, 32)) == shapes
    torch.testing.assert_close(learned.state_dict(), before, rtol=0, atol=0)


# --- limits of learned sizes ------------------------------------------------------------------------------------------


class Crnn(nn.Module):
    """Text recognition: one row of features is read from left to right, so that the height must be what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.last, self.rnn = nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(8, 8, 2), nn.LSTM(8, 8)
        self.p1, self.p2 = nn.MaxPool2d(2), nn.MaxPool2d((2, 2), (2, 1), (0, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.p2(self.p1(self.c(x))))
        if x.shape[2] != 1:
            raise ValueError("height must be 1")
        out: Tensor = self.rnn(x.squeeze(2).permute(2, 0, 1))[0]
        return out


def test_an_axis_that_cannot_move_is_held_and_the_other_learns() -> None:
    learned = dynpool.convert(Crnn(), (1, 8, 64))
    with pytest.raises(ValueError, match=r"sizes\['p2'\] must be .*height 2 \(.*height must be 1\), got \(3, 30\)"):
        dynpool.set_sizes(learned, {"p2": (3, 30)})
    dynpool.set_sizes(learned, {"p1": (7, 20), "p2": (2, 30)})
    assert learned(torch.randn(2, 1, 8, 64)).shape == (29, 2, 8)
    with torch.no_grad():
        dynpool.resolutions(learned)["p2"].alpha.copy_(torch.tensor([0.6, 0.6]))
    assert learned(torch.randn(2, 1, 8, 64)).shape == (32, 2, 8)  # min(2, 7 / 0.6) by 20 / 0.6
    assert dynpool.resolutions(learned)["p2"].size == (2, 33)


class Lenet(nn.Sequential):
    def __init__(self) -> None:
        first = (nn.Conv2d(3, 6, 5), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2))
        super().__init__(*first, nn.Flatten(), nn.Linear(400, 10))


def test_no_step_leads_below_the_next_kernel() -> None:
    """Whatever the optimiser does to alpha, the size stays at the kernel's, and alpha does not run away from it."""
    learned = dynpool.convert(Lenet(), (3, 32, 32))
    alpha = dynpool.resolutions(learned)["1"].alpha
    loss = dynpool.GMACsLoss(learned, (3, 32, 32))
    optimizer = torch.optim.SGD(dynpool.parameter_groups(learned, alpha_lr=0.5), momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        (1000 * loss()).backward()
        optimizer.step()
        dynpool.constrain(learned)
        assert learned(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    assert dynpool.sizes(learned, (3, 32, 32))["1"] == (5, 5)
    assert (32 / alpha).round().tolist() == [5.0, 5.0]
    with pytest.raises(ValueError, match="height at least 5, width at least 5"):
        dynpool.set_sizes(learned, {"1": (4, 8)})
    assert dynpool.sizes(dynpool.freeze(learned), (3, 12, 12))["1"] == (5, 5)  # at any input


def test_limits_differ_between_axes_and_follow_multiples() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, (7, 1)), nn.Conv2d(4, 4, (1, 4))
    )
    tree = resolution_tree(dynpool.convert(net, (3, 64, 64)))
    assert tree is not None
    assert tree.learned[0][1].lowest == (7, 4)
    tree = resolution_tree(dynpool.convert(net, (3, 64, 64), multiple_of=(2, 3)))
    assert tree is not None
    assert tree.learned[0][1].lowest == (8, 6)


@pytest.mark.parametrize("padding_mode", ["reflect", "circular"])
def test_padding_that_needs_pixels_is_a_limit(padding_mode: Literal["reflect", "circular"]) -> None:
    wide = nn.Conv2d(4, 4, 9, padding=4, padding_mode=padding_mode)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), wide)
    learned = dynpool.convert(net, (3, 32, 32))
    least = 5 if padding_mode == "reflect" else 4
    dynpool.set_sizes(learned, {"1": (least, least)})
    learned(torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match=f"at least {least}"):
        dynpool.set_sizes(learned, {"1": (least - 1, 16)})


class Multiplies(nn.Module):
    """Made for 2 x 2 pixels: at others a view makes more rows of them, one for each four."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.MaxPool2d(4), nn.MaxPool2d(4), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x)).reshape(-1, 12))


def test_a_view_that_would_multiply_the_batch_holds_the_size() -> None:
    learned = dynpool.convert(Multiplies(), (3, 32, 32))
    rows = {r.name: (r.status, r.why) for r in dynpool.conversion_report(learned).rows}
    assert [status for status, _ in rows.values()] == ["converted", "pinned"]
    dynpool.set_sizes(learned, {"a": (16, 12)})
    assert learned(torch.randn(3, 3, 32, 32)).shape == (3, 5)


def test_limits_hold_together() -> None:
    """Two learned maps in front of valid convolutions, both at their lowest."""
    branch = [nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5)]
    learned = dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), *branch), (3, 64, 64))
    tree = resolution_tree(learned)
    assert tree is not None
    dynpool.set_sizes(learned, {tree.nodes[i].name: rule.lowest for i, rule, _ in tree.learned})
    assert dynpool.sizes(learned, (3, 64, 64)) == {"input": (64, 64), "0": (3, 3), "2": (5, 5)}
    assert learned(torch.randn(1, 3, 64, 64)).shape == (1, 4, 1, 1)
