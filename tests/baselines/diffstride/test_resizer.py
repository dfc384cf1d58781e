"""DiffStride2d as a learned resizer: on its own, and in models made by `dynpool.convert`."""

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dynpool
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.baselines import DiffStride2d, FixedDiffStride2d, diffstride2d
from dynpool.resizers.dynopool import DynOPool2d
from dynpool.resizers.learned_alpha import set_alpha

INPUT = (3, 32, 32)


def random_map(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


class Branches(nn.Module):
    """Two strided branches that are added: their resizers are tied."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.right = nn.Conv2d(3, 4, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


def held(pool: DiffStride2d) -> list[float]:
    return pool.shared_alpha().tolist()


def write(pool: DiffStride2d, *values: float) -> None:
    """An optimiser step on alpha."""
    with torch.no_grad():
        pool.shared_alpha().copy_(torch.tensor(values))


# -------------------------------------------------------------------------------------------------------- by itself


def test_forward_is_the_function() -> None:
    pool, x = DiffStride2d((2.0, 1.5), smoothness=2.0, norm="ortho", symmetric=True), random_map(2, 3, 20, 21)
    assert torch.equal(pool(x), diffstride2d(x, (2.0, 1.5), smoothness=2.0, norm="ortho", symmetric=True))
    assert torch.equal(pool(x[0]), pool(x)[0])
    assert pool(x, (7, 30)).shape == (2, 3, 7, 30)
    assert DiffStride2d()(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 24, 24)
    assert DiffStride2d(cropping=False)(x).shape == x.shape


def test_gradient_reaches_the_parameter() -> None:
    pool, x = DiffStride2d(2.0), random_map(2, 3, 32, 32)
    pool(x).square().sum().backward()
    stride = torch.tensor([2.0, 2.0], requires_grad=True)
    diffstride2d(x, stride).square().sum().backward()
    assert pool.alpha is not None
    assert pool.alpha.grad is not None
    assert stride.grad is not None
    assert stride.grad.abs().min() > 0
    assert torch.equal(pool.alpha.grad, stride.grad)


def test_a_shared_stride_is_the_first_entry_and_gets_both_gradients() -> None:
    pool, x = DiffStride2d((2.0, 4.5), shared=True), random_map(2, 3, 32, 30)
    assert held(pool) == [3.0, 3.0]  # the geometric mean
    pool(x).square().sum().backward()
    stride = torch.tensor([3.0, 3.0], requires_grad=True)
    diffstride2d(x, stride).square().sum().backward()
    assert pool.alpha is not None
    assert pool.alpha.grad is not None
    assert stride.grad is not None
    torch.testing.assert_close(pool.alpha.grad, torch.stack([stride.grad.sum(), torch.tensor(0.0)]))
    write(pool, 2.5, 3.0)
    assert torch.equal(pool(x), diffstride2d(x, 2.5))
    assert held(pool) == [2.5, 2.5]
    assert DiffStride2d(tied_to=pool).shared


def test_strides_below_one_count_as_one_and_can_be_left() -> None:
    pool, x = DiffStride2d(1.0, bounds=(1 / 8, 4.0)), random_map(1, 2, 32, 32)
    at_one = pool(x)
    write(pool, 0.5, 0.75)
    y = pool(x)
    assert torch.equal(y, at_one)
    assert held(pool) == [0.5, 0.75]
    y.square().sum().backward()
    assert pool.alpha is not None
    assert pool.alpha.grad is not None
    assert pool.alpha.grad.abs().min() > 0


def test_the_parameter_stays_in_bounds_and_the_bound_of_the_map_does_not_touch_it() -> None:
    pool = DiffStride2d(1.05)
    pool(random_map(1, 1, 8, 8))  # where strides count as at least 2
    assert held(pool) == pytest.approx([1.05, 1.05])
    write(pool, 100.0, -3.0)
    pool(random_map(1, 1, 32, 32))
    assert held(pool) == [8.0, 1.0]


def test_stays_float32_in_half_precision() -> None:
    pool = DiffStride2d(1.7).bfloat16()
    assert pool.shared_alpha().dtype == torch.float32
    assert pool(random_map(1, 2, 20, 20).bfloat16()).dtype == torch.bfloat16


def test_compiled_module_finds_its_own_size() -> None:
    torch._dynamo.reset()
    pool, x = DiffStride2d(3.0), random_map(1, 2, 32, 32)
    assert torch.equal(torch.compile(pool, backend="eager")(x), pool(x))


def test_repr_shows_alpha_options_and_bounds() -> None:
    assert (
        repr(DiffStride2d((2, 1.5))) == "DiffStride2d(alpha=(2, 1.5), smoothness=4, norm='backward', bounds=(0.125, 1))"
    )
    pool = DiffStride2d(shared=True, symmetric=True, cropping=False)
    shown = "alpha=(2, 2), smoothness=4, norm='backward', shared, symmetric, cropping=False"
    assert shown in repr(pool)
    assert repr(DiffStride2d(tied_to=pool)).endswith("tied)")
    assert "alpha=(meta)" in repr(DiffStride2d().to("meta"))
    assert repr(FixedDiffStride2d((2.0, 3.0), (24, 20), symmetric=True)) == (
        "FixedDiffStride2d(stride=(2, 3), size=(24, 20), smoothness=4, norm='backward', symmetric)"
    )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"alpha=0\.9"):
        DiffStride2d(0.9)
    with pytest.raises(ValueError, match="alpha=9"):
        DiffStride2d(9, shared=True)
    with pytest.raises(TypeError, match="alpha='2'"):
        DiffStride2d("2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="smoothness=0"):
        DiffStride2d(smoothness=0)
    with pytest.raises(ValueError, match="reduce='median'"):
        DiffStride2d(reduce="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="norm='unit'"):
        DiffStride2d(norm="unit")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tied_to is a DynOPool2d"):
        DiffStride2d(tied_to=DynOPool2d())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        DiffStride2d()(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="smoothness=-1"):
        FixedDiffStride2d((2.0, 2.0), (4, 4), smoothness=-1.0)
    with pytest.raises(ValueError, match="norm='unit'"):
        FixedDiffStride2d((2.0, 2.0), (4, 4), norm="unit")  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------- in converted models

VARIANTS = [
    pytest.param(DiffStride2d, id="published"),
    pytest.param(partial(DiffStride2d, symmetric=True, smoothness=1.0, norm="forward"), id="symmetric"),
    pytest.param(partial(DiffStride2d, shared=True, smoothness=1.5), id="shared"),
    pytest.param(partial(DiffStride2d, cropping=False), id="not cropping"),
]


def test_starts_at_the_strides_of_the_layers_and_the_sizes_that_they_give() -> None:
    model = dynpool.convert(network(), INPUT, pool=DiffStride2d)
    usual = dynpool.convert(network(), INPUT)
    assert set(model.state_dict()) == set(usual.state_dict())
    pools = [m for m in model.modules() if isinstance(m, DiffStride2d)]
    assert [held(p) for p in pools] == [[2.0, 2.0], [2.0, 2.0]]
    assert dynpool.sizes(model, INPUT) == {"input": (32, 32), "1": (24, 24), "2": (20, 20)}


@pytest.mark.parametrize("pool", VARIANTS)
@pytest.mark.parametrize("order", ["after", "before"])
def test_maps_have_the_sizes_of_the_tree_and_frozen_models_the_outputs_of_the_live_one(
    pool: Callable[..., DiffStride2d], order: Literal["after", "before"]
) -> None:
    model = dynpool.convert(network(), INPUT, pool=pool, order=order)
    for resizer in (m for m in model.modules() if isinstance(m, DiffStride2d)):
        set_alpha(resizer, (2.3, 3.1))
    shapes = []
    model[5].register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape[-2:])))  # type: ignore[index]
    x = random_map(2, *INPUT)
    model.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert shapes == [dynpool.sizes(model, INPUT)["2"]]
    model.eval()
    frozen = dynpool.freeze(model)
    assert torch.equal(frozen(x), model(x))
    assert not any("alpha" in name for name in frozen.state_dict())


def test_frozen_resizer_exports() -> None:
    pool, x = DiffStride2d((2.3, 3.1)), random_map(2, 3, 20, 22)
    fixed = pool.frozen((14, 16))
    assert torch.equal(torch.export.export(fixed, (x,)).module()(x), pool(x, (14, 16)))


def test_frozen_resizer_compiles_and_takes_bfloat16() -> None:
    fixed = FixedDiffStride2d((2.0, 1.5), (24, 28))
    x = random_map(2, 3, 32, 32)
    assert torch.autograd.gradcheck(fixed, random_map(1, 7, 9).double().requires_grad_())
    torch.testing.assert_close(torch.compile(fixed, backend="aot_eager", fullgraph=True)(x), fixed(x))
    torch._dynamo.reset()
    assert torch.equal(fixed(x.bfloat16()), fixed(x.bfloat16().float()).bfloat16())
    for options, message in (({"smoothness": 0.0}, "smoothness=0.0"), ({"norm": "unit"}, "norm='unit'")):
        with pytest.raises(ValueError, match=message):
            FixedDiffStride2d((2.0, 2.0), (4, 4), **options)


def test_tied_branches_share_a_stride_and_copies_do_not() -> None:
    model = dynpool.convert(Branches(), INPUT, pool=partial(DiffStride2d, smoothness=1.0))
    pools = [m for m in model.modules() if isinstance(m, DiffStride2d)]
    assert len(pools) == 2
    assert pools[1].root() is pools[0]
    twin = copy.deepcopy(model)
    dynpool.set_sizes(model, {"left": (10, 14)})
    x = random_map(1, *INPUT)
    assert model(x).shape == (1, 4, 10, 14)
    assert twin(x).shape == (1, 4, 18, 18)
    assert torch.equal(dynpool.freeze(model)(x), model(x))


def test_sizes_can_be_set_and_unreachable_ones_are_an_error() -> None:
    model = dynpool.convert(network(), INPUT, pool=DiffStride2d)
    dynpool.set_sizes(model, {"1": (30, 20), "2": (14, 12)})
    assert dynpool.sizes(model, INPUT) == {"input": (32, 32), "1": (30, 20), "2": (14, 12)}
    for size in ((15, 20), (8, 20)):
        with pytest.raises(
            ValueError, match=r"cannot be reached from \(32, 32\).*smoothness=4.*the nearest size is \(1"
        ):
            dynpool.set_sizes(model, {"1": size})
    shared = dynpool.convert(network(), INPUT, pool=partial(DiffStride2d, shared=True))
    with pytest.raises(ValueError, match=r"shared: the nearest size is \(20, 20\) or \(30, 30\)"):
        dynpool.set_sizes(shared, {"1": (20, 30)})


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 100), st.integers(1, 100)), st.tuples(st.floats(1, 60), st.floats(1, 60)), st.booleans()
)
def test_every_size_that_occurs_can_be_set(
    size: tuple[int, int], strides: tuple[float, float], symmetric: bool
) -> None:
    pool = DiffStride2d(symmetric=symmetric)
    out = pool.output_size(size, strides)
    assert pool.output_size(size, pool.values_for(size, out)) == out


def test_sizes_follow_the_input() -> None:
    model = dynpool.convert(network(), INPUT, pool=DiffStride2d).eval()
    model(random_map(1, 3, 48, 40))
    assert dynpool.resolutions(model)["2"].size == dynpool.sizes(model, (3, 48, 40))["2"] == (24, 22)


@pytest.mark.parametrize("shared", [False, True])
def test_gmacs_are_exact_and_their_gradient_is_that_of_the_strides(shared: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
    model = dynpool.convert(net, INPUT, pool=partial(DiffStride2d, shared=shared))
    loss = dynpool.GMACsLoss(model, INPUT)
    value = loss()
    assert value.item() == pytest.approx((32 * 32 * 8 * 27 + 24 * 24 * 8 * 72) / 1e9)
    assert value.item() == pytest.approx(dynpool.count_macs(model, INPUT).gmacs)
    (pool,) = (m for m in model.modules() if isinstance(m, DiffStride2d))
    (slope,) = torch.autograd.grad(value, pool.shared_alpha())
    axis = -(16 * 16 * 8 * 72) / 2 / 1e9  # of (32 / s_h) (32 / s_w) at s = 2, per axis
    torch.testing.assert_close(slope, torch.tensor([2 * axis, 0.0] if shared else [axis, axis]))


def test_its_receptive_field_is_the_whole_axis(tmp_path: Path) -> None:
    model = dynpool.convert(network(), INPUT, pool=DiffStride2d)
    report = receptive_field(model, INPUT)
    assert report.i_min == (3.0, 3.0)  # the convolution before it; what lies behind sees everything
    behind = [row.name for row in receptive_field(network(), INPUT).layers if row.kind == "convolution"][1:]
    assert behind
    assert list(report.behind_global) == behind == report.to_dict()["behind_global"]
    assert f"behind a global operation, not counted: {len(behind)}" in str(report)
    row = IMinTracker(model, INPUT, tmp_path / "i_min.jsonl").log(0)
    assert (row["i_min"], row["behind_global"]) == ([3.0, 3.0], len(behind))
    assert row["sizes"]["1"] == [24, 24]
    assert row["alphas"] == {"1": [2.0, 2.0], "2": [2.0, 2.0]}


def test_steps_of_an_optimiser_stay_in_bounds_and_change_sizes() -> None:
    model = dynpool.convert(network(), INPUT, pool=DiffStride2d)
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, lr=0.01, alpha_lr=1e4))
    gmacs = dynpool.GMACsLoss(model, INPUT)
    before = dynpool.sizes(model, INPUT)
    for _ in range(4):
        optimizer.zero_grad()
        (model(random_map(4, *INPUT)).square().mean() + 100 * gmacs()).backward()
        optimizer.step()
        dynpool.constrain(model)
    for resolution in dynpool.resolutions(model).values():
        assert all(math.isfinite(a) and 0.5 <= a <= 8 for a in resolution.alpha.tolist())
    assert dynpool.sizes(model, INPUT) != before
