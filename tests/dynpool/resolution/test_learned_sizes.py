"""Learned sizes are set exactly, named where they are wrong, and kept from weight decay."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import dynpool
from dynpool.resizers import learned_resizers
from tests.networks import three_resizers, two_resizers

SIZE = (3, 32, 32)


def test_size_given_is_size_got_for_every_size(model: nn.Module) -> None:
    for n in range(2, 64):
        dynpool.set_sizes(model, {"2": (n, 65 - n), "3": (3, 7)})
        found = dynpool.resolutions(model)
        assert (found["2"].size, found["3"].size) == ((n, 65 - n), (3, 7))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"features": (4, 4)}, "unknown resolution 'features'"),
        ({"2": (1, 4)}, r"sizes\['2'\].*at least 2"),
        ({"2": (4,)}, r"sizes\['2'\]"),
        ({"2": (4.0, 4)}, r"sizes\['2'\]"),
    ],
)
def test_bad_sizes_are_named(model: nn.Module, sizes: dict, message: str) -> None:
    before = dynpool.sizes(model, (3, 32, 32))
    with pytest.raises(ValueError, match=message):
        dynpool.set_sizes(model, sizes)
    assert dynpool.sizes(model, (3, 32, 32)) == before


def test_set_sizes_and_resolutions_need_something_learned() -> None:
    with pytest.raises(ValueError, match="model with learned sizes"):
        dynpool.set_sizes(three_resizers(), {})
    with pytest.raises(ValueError, match="no learned resolution"):
        dynpool.resolutions(three_resizers())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -15952.0, 0.0])
def test_a_spoilt_alpha_comes_back(model: nn.Module, bad: float) -> None:
    alpha = dynpool.resolutions(model)["3"].alpha
    alpha.grad = torch.tensor([3.0, -3.0])
    with torch.no_grad():
        alpha.fill_(bad)
    dynpool.constrain(model)
    assert all(2 / 1.1001 <= a <= 2.2001 for a in alpha.tolist())
    assert alpha.grad.tolist() == [3.0, -3.0]
    assert model(torch.zeros(1, 3, 32, 32)).isfinite().all()


def test_a_value_written_by_hand_is_taken_whole_but_in_bounds(model: nn.Module) -> None:
    alpha = dynpool.resolutions(model)["2"].alpha
    with torch.no_grad():
        alpha.copy_(torch.tensor([4.0, 100.0]))
    model(torch.zeros(1, 3, 32, 32))
    assert alpha.tolist() == [4.0, 8.0]
    assert dynpool.resolutions(model)["2"].size == (8, 4)


@pytest.mark.parametrize("trust", [0, -1.0, float("nan")])
def test_bad_trust_is_named(model: nn.Module, trust: float) -> None:
    with pytest.raises(ValueError, match="trust"):
        dynpool.constrain(model, trust=trust)


def test_groups_keep_weight_decay_off_the_alphas(model: nn.Module) -> None:
    weights, alphas = dynpool.parameter_groups(model, lr=0.2, alpha_lr=0.03, weight_decay=1e-3)
    assert (weights["lr"], weights["weight_decay"]) == (0.2, 1e-3)
    assert (alphas["lr"], alphas["weight_decay"]) == (0.03, 0.0)
    assert [id(p) for p in alphas["params"]] == [id(r.alpha) for r in dynpool.resolutions(model).values()]
    assert len(weights["params"]) + len(alphas["params"]) == len(list(model.parameters()))
    assert len(dynpool.parameter_groups(three_resizers())) == 1
    with pytest.raises(ValueError, match="alpha_lr"):
        dynpool.parameter_groups(model, alpha_lr=-1.0)


def test_sizes_above_the_ceiling_are_refused_and_change_nothing() -> None:
    model = dynpool.convert(two_resizers(), SIZE)
    most = dynpool.count_macs(model, SIZE).gmacs * 1.01
    model = dynpool.convert(two_resizers(), SIZE, max_gmacs=most)
    before = {name: (found.alpha.tolist(), found.size) for name, found in dynpool.resolutions(model).items()}
    bounds = [pool.bounds for pool in learned_resizers(model).values()]
    with pytest.raises(ValueError, match=r"would cost .* GMACs, above the ceiling of the conversion \(max_gmacs\)"):
        dynpool.set_sizes(model, {"1": (32, 32)})
    assert {name: (found.alpha.tolist(), found.size) for name, found in dynpool.resolutions(model).items()} == before
    assert [pool.bounds for pool in learned_resizers(model).values()] == bounds


class Recorded(TorchDispatchMode):
    """Notes the operations that run, with their integer arguments: sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        self.operations.append((name, tuple(each for each in args if isinstance(each, int))))
        return operation(*args, **(kwargs or {}))


def test_a_step_can_be_recorded_as_a_cuda_graph_until_a_size_changes(model: nn.Module) -> None:
    images = torch.zeros(2, 3, 32, 32)

    def step() -> list[tuple[str, tuple[int, ...]]]:
        model.zero_grad(set_to_none=True)
        with Recorded() as recorded:
            model(images).sum().backward()
        return recorded.operations

    step()  # the first one keeps sizes for the others
    first = step()
    names = {name for name, _ in first}
    assert {"dynopool2d", "dynopool2d_backward"} <= names
    assert not names & {"_local_scalar_dense", "_to_copy", "copy_", "nonzero", "equal"}  # nothing waits for the device
    assert step() == first
    dynpool.set_sizes(model, {"2": (9, 11)})
    step()
    changed = step()
    assert ("dynopool2d", (9, 11)) in [(name, sizes[:2]) for name, sizes in changed]
    assert changed != first
    dynpool.constrain(model)
    assert step() == changed
