"""Alphas: their ties, bounds and steps, and how they travel between device and host."""

import copy
import io
import math
import pickle
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from dynpool.resizers import host_values
from dynpool.resizers import learned_alpha as resizer_module
from dynpool.resizers.dynopool import DynOPool2d, constrain_resizers, host_alphas, set_alpha
from dynpool.resizers.functional import dynopool2d


def write(pool: DynOPool2d, *values: float) -> None:
    """What an optimiser's step does to alpha."""
    with torch.no_grad():
        pool.shared_alpha().copy_(torch.tensor(values))


def held(pool: DynOPool2d) -> list[float]:
    return pool.shared_alpha().tolist()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of alphas in each copy to the host, with the CPU treated as an accelerator."""
    counts: list[int] = []
    read = host_values.read_values

    def counting(alphas: Sequence[Tensor]) -> list[list[float]]:
        if alphas:
            counts.append(len(alphas))
        return read(alphas)

    monkeypatch.setattr(resizer_module, "read_values", counting)
    monkeypatch.setattr(resizer_module, "_READ_ALWAYS", frozenset())
    return counts


# ------------------------------------------------------------------------------------------------------- the module


@pytest.mark.parametrize(
    "cast", [nn.Module.half, nn.Module.bfloat16, nn.Module.double, lambda m: m.to("cpu", torch.float16)]
)
def test_alpha_stays_float32_and_keeps_its_value_when_the_model_is_cast(cast: Callable) -> None:
    conv, pool = nn.Conv2d(3, 4, 3, padding=1), DynOPool2d(2.345)
    model = nn.Sequential(conv, pool)
    model(torch.randn(1, 3, 8, 8)).sum().backward()
    before = held(pool)
    cast(model)
    alpha = pool.shared_alpha()
    assert conv.weight.dtype != torch.float32
    assert alpha.dtype == torch.float32
    assert alpha.grad is not None
    assert alpha.grad.dtype == torch.float32
    assert held(pool) == before
    x = torch.randn(1, 3, 8, 8).to(conv.weight.dtype)
    assert model(x).dtype == x.dtype


def test_alpha_moves_with_the_model() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), DynOPool2d()).to("meta")
    assert model[1].alpha.is_meta
    assert model(torch.empty(2, 3, 8, 8, device="meta")).shape == (2, 4, 4, 4)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: torch.load(saved(m), weights_only=False)],
)
def test_copies_keep_values_and_ties_and_share_nothing(duplicate: Callable) -> None:
    first = DynOPool2d((1.5, 3.0), bounds=(0.25, 1.0))
    model = nn.ModuleList([first, DynOPool2d(tied_to=first, reduce="mean")])
    first(torch.randn(1, 1, 8, 8))
    twin = duplicate(model)
    assert twin[1].root() is twin[0]
    assert twin[0] is not first
    assert (held(twin[0]), twin[0].bounds) == ([1.5, 3.0], (0.25, 1.0))
    set_alpha(twin[0], 2.0)
    assert held(first) == [1.5, 3.0]
    assert twin[1](torch.randn(1, 1, 8, 8)).shape == (1, 1, 4, 4)
    assert first(torch.randn(1, 1, 8, 12)).shape == (1, 1, 5, 4)


def saved(module: nn.Module) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return buffer


def test_state_dict_has_alpha_alone_and_loads() -> None:
    first = DynOPool2d((1.5, 3.0))
    model = nn.ModuleList([first, DynOPool2d(tied_to=first)])
    assert list(model.state_dict()) == ["0.alpha"]
    other = DynOPool2d()
    tied = DynOPool2d(tied_to=other)
    nn.ModuleList([other, tied]).load_state_dict(model.state_dict())
    assert held(tied) == [1.5, 3.0]


# ------------------------------------------------------------------------------------------------------------- ties


def test_tied_pools_share_one_parameter_and_its_gradient() -> None:
    first = DynOPool2d((2.0, 3.0), bounds=(0.2, 1.0))
    second = DynOPool2d(tied_to=first, reduce="mean")
    third = DynOPool2d(tied_to=second)
    model = nn.ModuleList([first, second, third])
    assert [name for name, _ in model.named_parameters()] == ["0.alpha"]
    assert second.alpha is None
    assert third.root() is first
    assert third.shared_alpha() is first.alpha
    assert list(second.children()) == []
    assert third.bounds == (0.2, 1.0)
    x = torch.randn(1, 2, 12, 12)
    for pool in model:
        pool(x).square().sum().backward()
    expected = torch.tensor([2.0, 3.0], requires_grad=True)
    for pool in (first, second, third):
        dynopool2d(x, expected, reduce=pool.reduce).square().sum().backward()
    torch.testing.assert_close(first.shared_alpha().grad, expected.grad)


def test_bounds_of_tied_pools_are_one() -> None:
    first = DynOPool2d()
    second = DynOPool2d(tied_to=first)
    second.bounds = (0.3, 0.4)
    assert first.bounds == (0.3, 0.4)
    assert second(torch.randn(1, 1, 10, 10)).shape == (1, 1, 4, 4)
    assert held(first) == [2.5, 2.5]


# -------------------------------------------------------------------------------------------------- bounds and trust


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((-15952.0, 1e9), [2 / 1.1, 8.0]),  # what is no stride is a bad step: a tenth of it is allowed
        ((math.nan, 3.0), [2.0, 3.0]),
        ((math.inf, -math.inf), [2.0, 2.0]),
        ((0.0, 4.0), [2 / 1.1, 4.0]),
    ],
)
def test_forward_never_sees_an_alpha_out_of_bounds(values: tuple[float, float], expected: list[float]) -> None:
    pool = DynOPool2d(2.0)
    write(pool, *values)
    y = pool(torch.randn(1, 1, 32, 32))
    assert held(pool) == pytest.approx(expected, rel=1e-6)
    assert y.shape[2:] == (round(32 / expected[0]), round(32 / expected[1]))


def test_constrain_limits_the_step_and_is_idempotent() -> None:
    pool = DynOPool2d(2.0)
    write(pool, 9.0, 2.1)
    assert constrain_resizers([pool], trust=0.1)
    assert held(pool) == pytest.approx([2.2, 2.1])
    settled = held(pool)
    assert not constrain_resizers([pool], trust=0.1)
    assert held(pool) == settled
    write(pool, -5.0, 2.1)
    constrain_resizers([pool], trust=0.1)
    assert held(pool) == pytest.approx([2.0, 2.1])


def test_gradient_leads_back_from_the_bound() -> None:
    pool = DynOPool2d(8.0)
    optimiser = torch.optim.SGD(pool.parameters(), lr=1e9)
    x = torch.randn(2, 2, 64, 64)
    (pool(x).square().sum() * 0 + pool.shared_alpha().sum()).backward()  # pushes alpha down
    optimiser.step()
    constrain_resizers([pool], trust=0.5)
    assert held(pool) == pytest.approx([8.0 / 1.5] * 2)
    pool.zero_grad()
    (-pool.shared_alpha().sum()).backward()
    optimiser.step()
    constrain_resizers([pool], trust=0.5)
    assert held(pool) == pytest.approx([8.0, 8.0])


@pytest.mark.parametrize("lr", [1e-3, 1e-2, 0.1, 1.0, 10.0])
def test_any_learning_rate_stays_finite_in_bounds_and_in_the_trust_region(lr: float) -> None:
    torch.manual_seed(0)
    pool = DynOPool2d(2.0)
    optimiser = torch.optim.SGD(pool.parameters(), lr=lr, momentum=0.9)
    previous = held(pool)
    for _ in range(20):
        optimiser.zero_grad()
        (pool(torch.randn(2, 2, 16, 16)).square().sum() * 1e3).backward()
        optimiser.step()
        constrain_resizers([pool], trust=0.1)
        current = held(pool)
        assert all(0.5 <= value <= 8.0 for value in current)
        assert all(1 / 1.1001 <= b / a <= 1.1001 for a, b in zip(previous, current, strict=True))
        previous = current


def test_loaded_and_set_values_are_taken_whole() -> None:
    pool = DynOPool2d(2.0)
    pool.load_state_dict({"alpha": torch.tensor([6.0, 0.75])})
    constrain_resizers([pool], trust=0.1)
    assert held(pool) == [6.0, 0.75]
    set_alpha(pool, (1.0, 3.0))
    constrain_resizers([pool], trust=0.1)
    assert held(pool) == [1.0, 3.0]
    write(pool, 2.0, 3.0)
    constrain_resizers([pool], trust=0.1)
    assert held(pool) == pytest.approx([1.1, 3.0])


def test_constrain_writes_only_what_changes() -> None:
    pools = [DynOPool2d(2.0), DynOPool2d(2.0)]
    write(pools[0], 99.0, 2.0)
    versions = [pool.shared_alpha()._version for pool in pools]
    constrain_resizers(pools)
    assert pools[0].shared_alpha()._version > versions[0]
    assert pools[1].shared_alpha()._version == versions[1]


def test_bounds_that_are_no_binary_fractions_do_not_rewrite_alpha() -> None:
    pool = DynOPool2d(3.0, bounds=(1 / 3, 1.0))
    write(pool, 4.0, 4.0)
    constrain_resizers([pool])
    version = pool.shared_alpha()._version
    assert not constrain_resizers([pool])
    assert pool.shared_alpha()._version == version


# ---------------------------------------------------------------------------------------------------- reads by the host


def test_one_copy_reads_all_changed_alphas(reads: list[int]) -> None:
    pools = [DynOPool2d(2.0) for _ in range(5)]
    pools.append(DynOPool2d(tied_to=pools[0]))
    assert host_alphas(pools) == [(2.0, 2.0)] * 6
    assert reads == [5]
    host_alphas(pools)
    assert reads == [5]
    write(pools[1], 2.1, 2.1)
    write(pools[3], 9.0, 2.0)
    assert host_alphas(pools)[3] == (9.0, 2.0)
    assert reads == [5, 2]
    constrain_resizers(pools)  # after a step, so it always reads
    assert host_alphas(pools)[3] == pytest.approx((2.2, 2.0))
    assert reads == [5, 2, 5]


def test_forward_reads_alpha_only_after_it_changed(reads: list[int]) -> None:
    pool, x = DynOPool2d(2.0), torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        for _ in range(3):
            pool(x)
    assert reads == [1]
    constrain_resizers([pool])
    optimiser = torch.optim.SGD(pool.parameters(), lr=1e-3)
    pool(x).square().sum().backward()
    optimiser.step()
    for _ in range(3):
        pool(x)
    assert reads == [1, 1, 1]


def test_without_constrain_each_training_pass_reads(reads: list[int]) -> None:
    """A fused optimiser writes without a mark that could be seen, as ``.data`` does."""
    pool, x = DynOPool2d(2.0), torch.randn(1, 1, 8, 8)
    assert pool(x).shape[2:] == (4, 4)
    pool.shared_alpha().data.fill_(4.0)
    assert pool(x).shape[2:] == (2, 2)
    pool.shared_alpha().data.fill_(2.0)
    constrain_resizers([pool], trust=1.0)
    assert pool(x).shape[2:] == (4, 4)
    assert reads == [1, 1, 1]


def test_a_given_size_reads_nothing(reads: list[int]) -> None:
    pool = DynOPool2d(2.0)
    pool(torch.randn(1, 1, 8, 8), (3, 3)).sum().backward()
    assert reads == []


@pytest.mark.parametrize(
    "change",
    [
        lambda pool: write(pool, 4.0, 4.0),
        lambda pool: pool.load_state_dict({"alpha": torch.tensor([4.0, 4.0])}),
        lambda pool: pool.load_state_dict({"alpha": torch.tensor([4.0, 4.0])}, assign=True),
        lambda pool: setattr(pool, "alpha", nn.Parameter(torch.tensor([4.0, 4.0]))),
        lambda pool: set_alpha(pool, 4.0),
        lambda pool: pool.state_dict()["alpha"].copy_(torch.tensor([4.0, 4.0])),
        lambda pool: setattr(pool.alpha, "data", torch.tensor([4.0, 4.0])),
    ],
)
def test_every_way_to_change_alpha_is_noticed(change: Callable, reads: list[int]) -> None:
    pool, x = DynOPool2d(2.0), torch.randn(1, 1, 8, 8)
    assert pool(x).shape[2:] == (4, 4)
    change(pool)
    assert pool(x).shape[2:] == (2, 2)


def test_on_the_cpu_writes_through_data_are_noticed_too() -> None:
    pool, x = DynOPool2d(2.0), torch.randn(1, 1, 8, 8)
    assert pool(x).shape[2:] == (4, 4)
    pool.shared_alpha().data.fill_(4.0)
    assert pool(x).shape[2:] == (2, 2)


def test_works_in_inference_mode(reads: list[int]) -> None:
    with torch.inference_mode():
        pool = DynOPool2d(2.0)
        write(pool, 100.0, 4.0)
        assert pool(torch.randn(1, 1, 16, 16)).shape[2:] == (2, 4)
        assert host_alphas([pool]) == [(8.0, 4.0)]
