"""The tree: sizes down from the input, one read a step, bounds, trust region, ceiling, groups."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import dynpool
from dynpool.resizers import host_values
from dynpool.resizers import learned_alpha as resizer_module
from dynpool.resolution.tree import resolution_tree
from tests.networks import three_resizers


def test_sizes_follow_down_the_tree_from_the_input(model: nn.Module) -> None:
    dynpool.set_sizes(model, {"2": (21, 13)})
    found = dynpool.resolutions(model)
    assert [(n, r.parent, r.size) for n, r in found.items()] == [
        ("2", "input", (21, 13)),
        ("3", "2", (10, 6)),  # 21/2 = 10.5 and 13/2 = 6.5 round to even
        ("6", "3", (5, 3)),
    ]
    assert dynpool.sizes(model, (3, 64, 40)) == {"input": (64, 40), "2": (42, 16), "3": (21, 8), "6": (10, 4)}
    model(torch.zeros(1, 3, 64, 40))
    assert dynpool.resolutions(model)["2"].size == (42, 16)


def test_the_pass_uses_the_trees_sizes(model: nn.Module) -> None:
    dynpool.set_sizes(model, {"2": (21, 13), "3": (9, 17), "6": (4, 2)})
    seen = []
    for name in ("2", "3.resize", "6"):
        model.get_submodule(name).register_forward_hook(lambda m, a, y: seen.append(tuple(y.shape[-2:])))
    model(torch.zeros(2, 3, 32, 32))
    assert seen == [(21, 13), (9, 17), (4, 2)]


def test_alphas_are_read_once_a_step_for_the_whole_model(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    real = host_values.read_values

    def counting(alphas: list) -> list:
        if alphas:
            reads.append(len(alphas))
        return real(alphas)

    monkeypatch.setattr(resizer_module, "read_values", counting)
    monkeypatch.setattr(resizer_module, "_READ_ALWAYS", frozenset())  # as on an accelerator: read only what changed
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, alpha_lr=0.1))
    x = torch.randn(2, 3, 32, 32)
    model(x)
    dynpool.constrain(model)
    reads.clear()
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        dynpool.constrain(model)
        model(x)
        model(x)
    assert reads == [3, 3, 3]


@pytest.mark.parametrize("alpha_lr", [1e-3, 1e-2, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.Adam])
def test_any_alpha_learning_rate_stays_finite_and_in_bounds(alpha_lr: float, optimizer_class: type) -> None:
    model = dynpool.convert(three_resizers(), (3, 32, 32))
    optimizer = optimizer_class(dynpool.parameter_groups(model, lr=0.01, alpha_lr=alpha_lr))
    loss_gmacs = dynpool.GMACsLoss(model, (3, 32, 32))
    generator = torch.Generator().manual_seed(0)
    previous = [r.alpha.tolist() for r in dynpool.resolutions(model).values()]
    for _ in range(12):
        x = torch.randn(8, 3, 32, 32, generator=generator)
        y = torch.randint(0, 4, (8,), generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y) + loss_gmacs()
        loss.backward()
        optimizer.step()
        dynpool.constrain(model)
        assert math.isfinite(loss.item())
        now = [r.alpha.tolist() for r in dynpool.resolutions(model).values()]
        for old, new in zip(previous, now, strict=True):
            for a, b in zip(old, new, strict=True):
                assert 0.5 <= b <= 8
                assert 1 / 1.1001 <= b / a <= 1.1001
        previous = now


def test_no_step_is_written_at_a_size_beyond_the_ceiling() -> None:
    """Alphas are held as float32: what is judged must be what is written, or a size rounds up by a pixel."""
    layers = [nn.Conv2d(3, 8, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)]
    net, size = nn.Sequential(*layers), (3, 53, 47)
    base = dynpool.count_macs(net, size).gmacs
    for seed in range(8):
        draw = torch.Generator().manual_seed(seed)
        ceiling = base * (1.02 + 0.2 * torch.rand(1, generator=draw).item())
        model = dynpool.convert(net, size, max_gmacs=ceiling)
        alphas = [r.alpha for r in dynpool.resolutions(model).values()]
        for _ in range(40):
            with torch.no_grad():
                for alpha in alphas:  # a task that wants larger maps
                    alpha.sub_(0.05 * (0.3 + torch.randn(2, generator=draw)))
            dynpool.constrain(model)
            limit = resolution_tree(model).ceiling  # type: ignore[union-attr]
            assert limit is not None
            assert limit.allows([(a[0], a[1]) for a in (alpha.tolist() for alpha in alphas)])
        assert dynpool.count_macs(model, size).gmacs <= ceiling


def test_gmacs_ceiling_is_hard() -> None:
    model = dynpool.convert(three_resizers(), (3, 32, 32), max_gmacs=0.0005)
    tree = resolution_tree(model)
    assert tree is not None
    assert tree.budget is tree.ceiling is not None
    alphas = [r.alpha for r in dynpool.resolutions(model).values()]
    optimizer = torch.optim.SGD(alphas, lr=0.2)
    for _ in range(30):  # a loss that only wants larger maps
        optimizer.zero_grad()
        torch.stack([a.sum() for a in alphas]).sum().backward()
        optimizer.step()
        dynpool.constrain(model)
        assert dynpool.count_macs(model, (3, 32, 32)).gmacs <= 0.0005
    assert dynpool.count_macs(model, (3, 32, 32)).gmacs > 0.00045  # and it gets there
    with pytest.raises(ValueError, match=r"max_gmacs=1e-06 is below"):
        dynpool.convert(three_resizers(), (3, 32, 32), max_gmacs=1e-6)
    with pytest.raises(ValueError, match="max_gmacs"):
        dynpool.convert(three_resizers(), (3, 32, 32), max_gmacs=-1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_alpha_stays_float32(model: nn.Module, dtype: torch.dtype) -> None:
    model.to(dtype)
    assert all(r.alpha.dtype == torch.float32 for r in dynpool.resolutions(model).values())
    assert model.get_parameter("0.weight").dtype == dtype


def test_copies_and_pickles_are_independent(model: nn.Module) -> None:
    x = torch.randn(1, 3, 32, 32)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        dynpool.set_sizes(other, {"2": (9, 21)})
        assert dynpool.resolutions(model)["2"].size == (16, 16)
        assert dynpool.resolutions(other)["2"].size == (9, 21)
        tree = resolution_tree(other)
        assert tree is not None
        assert all(any(p is m for m in other.modules()) for p in tree.owners)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.eval()(x), model.eval()(x))
