"""Views: windows cut from a map make its sizes multiples, and what the model pads is left free."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import dynpool
from dynpool.graph.survey import Survey
from dynpool.graph.tracer import trace
from tests.dynpool.graph.axis_rules.maps import Branches, Then, grid, padded_windows, pooled, windows


@pytest.mark.parametrize("function", [windows, grid])
def test_windows_make_sizes_multiples(function: Callable[[Tensor], Tensor]) -> None:
    graph = Survey(Then(function), (8, 48, 48)).structure
    assert [(graph.classes.pinned(a), graph.classes.multiple(a)) for a in pooled(graph)] == [(None, 4), (None, 4)]
    model = dynpool.convert(Then(function), (8, 48, 48))
    with torch.no_grad():
        dynpool.resolutions(model)["pool"].alpha.copy_(torch.tensor([1.55, 2.4]))
    assert model(torch.randn(1, 8, 48, 48)).shape[-2:] == (32, 20)  # 31 and 20
    with pytest.raises(ValueError, match=r"in multiples of \(4, 4\) pixels"):
        dynpool.set_sizes(model, {"pool": (22, 20)})


@pytest.mark.parametrize("kind", [padded_windows, lambda x: padded_windows(padded_windows(x))], ids=["once", "twice"])
def test_where_the_model_pads_its_windows_any_size_will_do(kind: Callable[[Tensor], Tensor]) -> None:
    graph = Survey(Then(kind), (8, 42, 44)).structure  # 21 x 22 pixels, padded to 24 x 24
    assert [(graph.classes.pinned(a), graph.classes.multiple(a)) for a in pooled(graph)] == [(None, 1), (None, 1)]
    model = dynpool.convert(Then(kind), (8, 42, 44), preserve=True)
    assert dynpool.sizes(model, (8, 42, 44))["pool"] == (21, 22)
    dynpool.set_sizes(model, {"pool": (27, 13)})
    assert model(torch.randn(1, 8, 42, 44)).shape[-2:] == (27, 13)


def phases(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)


def thirds(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, i::3, ::3] for i in range(3)], 1)


@pytest.mark.parametrize(
    ("function", "multiples"),
    [
        (phases, (2, 2)),
        (thirds, (3, 1)),
        (lambda x: x[:, :, 1::3, 1::3], (3, 3)),
        (lambda x: x[:, :, 1::2, 1::2], (1, 1)),
        (lambda x: x[:, :, ::2, ::2], (1, 1)),
        (lambda x: x[:, :, :-1:2, :-1:2], (1, 1)),
    ],
    ids=[
        "both phases",
        "all thirds",
        "every third from the second on",
        "odd positions",
        "even positions",
        "not to the end",
    ],
)
def test_every_nth_position_from_different_ones_on_makes_sizes_multiples(
    function: Callable[[Tensor], Tensor], multiples: tuple[int, int]
) -> None:
    model, x = dynpool.convert(Then(function), (8, 48, 48)), torch.randn(1, 8, 48, 48)
    loss = dynpool.GMACsLoss(model, (8, 48, 48))
    for height, width in ((22, 27), (27, 21), (18, 33)):
        size = (height // multiples[0] * multiples[0], width // multiples[1] * multiples[1])
        dynpool.set_sizes(model, {"pool": size})
        torch.testing.assert_close(dynpool.freeze(model)(x), model(x), rtol=1e-4, atol=1e-4)
        assert loss.cost.macs() == dynpool.count_macs(model, (8, 48, 48)).total
    if multiples != (1, 1):
        with pytest.raises(ValueError, match=rf"in multiples of \({multiples[0]}, {multiples[1]}\) pixels"):
            dynpool.set_sizes(model, {"pool": (25, 27)})


def test_a_whole_map_as_one_window_is_told_apart_from_a_number() -> None:
    """At 8 x 8 the pooled map is one window of 4 x 4: only a larger input shows the rest."""
    graph = Survey(Then(windows), (8, 8, 8)).structure
    assert [graph.classes.multiple(a) for a in pooled(graph)] == [4, 4]
    assert dynpool.convert(Then(windows), (8, 8, 8))(torch.zeros(1, 8, 8, 8)).shape == (1, 8, 4, 4)


def test_without_a_second_pass_windows_are_not_guessed() -> None:
    assert "split by a view" in (trace(Then(windows), (8, 48, 48)).classes.pinned(2) or "")


def test_axes_survive_tokens_and_are_not_pinned() -> None:
    graph = trace(Branches(), (3, 32, 48))
    pool = graph.resizes[1]
    find = graph.classes.find
    assert [find(a) for a in pool.source if a is not None] == [
        find(a) for a in graph.resizes[0].target if a is not None
    ]
    assert all(graph.classes.pinned(a) is None for a in pool.source if a is not None)
