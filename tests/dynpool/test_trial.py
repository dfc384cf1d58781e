"""What no trace of the original shows: sizes that a model's own code reads or insists on."""

import torch
from torch import Tensor, nn

import dynpool
from dynpool.graph import trace_shapes
from dynpool.resolution import resolution_tree
from dynpool.trial import find_limits


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
    assert "Kernel size can't be greater" in rows["pool"][1]
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
    assert find_limits(learned, tree) == {}
    assert trace_shapes(learned, (3, 32, 32)) == shapes
    torch.testing.assert_close(learned.state_dict(), before, rtol=0, atol=0)
