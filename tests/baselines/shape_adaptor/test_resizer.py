"""ShapeAdaptor2d against a slow implementation of its formula, and in converted models."""

import copy
import math
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn

import dynpool
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.baselines import FixedShapeAdaptor2d, ShapeAdaptor2d, shape_adaptor2d
from dynpool.baselines.shape_adaptor.size_math import scale_factor
from dynpool.resizers.functional import Reduce
from dynpool.resizers.learned_alpha import constrain_resizers, host_alphas, set_alpha
from tests.baselines.shape_adaptor.formula import Size, pooled, restated, taps
from tests.networks import two_resizers


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@pytest.mark.parametrize(
    ("shape", "alpha"), [((8, 10), 0.0), ((7, 5), 1.3), ((9, 4), -2.19), ((2, 3), -3.0), ((1, 6), 0.4), ((1, 1), 2.0)]
)
def test_values_are_the_formulas(shape: Size, alpha: float, reduce: Reduce, align_corners: bool) -> None:
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    adaptor = ShapeAdaptor2d(alpha=alpha, reduce=reduce, align_corners=align_corners)
    s = 0.5 + 0.5 / (1 + math.exp(-alpha))
    size = (max(math.floor(shape[0] * s), 1), max(math.floor(shape[1] * s), 1))
    y = adaptor(x)
    held = adaptor.shared_alpha().item()
    torch.testing.assert_close(y, restated(x, held, size, reduce, align_corners), rtol=1e-6, atol=1e-6)  # w is float32
    exact = shape_adaptor2d(
        torch.tensor([pooled(p, reduce, (2, 2)) for p in x.flatten(0, 1).tolist()]).unflatten(0, (2, 3)).double(),
        x,
        1 / (1 + math.exp(-held)),
        size,
        align_corners=align_corners,
    )
    torch.testing.assert_close(exact, restated(x, held, size, reduce, align_corners), rtol=1e-6, atol=1e-6)


def test_strides_of_the_layer_replaced_are_its_lower_ratio() -> None:
    x = torch.randn(1, 2, 12, 9, dtype=torch.float64)
    adaptor = ShapeAdaptor2d((4.0, 1.0), alpha=-1.0)
    w = 1 / (1 + math.exp(1.0))
    size = (math.floor(12 * (0.25 + 0.75 * w)), 9)
    assert adaptor.kernel == (4, 1)
    torch.testing.assert_close(adaptor(x), restated(x, -1.0, size, "max", True, (4, 1)), rtol=1e-6, atol=1e-6)


def test_residual_form_mixes_both_branches_and_doubles() -> None:
    shortcut, keep = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 8, 10)
    adaptor = ShapeAdaptor2d(alpha=0.7, residual=True)
    single = shape_adaptor2d(shortcut, keep, adaptor.weight().detach(), (6, 7))
    assert torch.equal(adaptor(keep, (6, 7), down=shortcut), 2 * single)
    assert torch.equal(adaptor.frozen((6, 7))(keep, down=shortcut), adaptor(keep, (6, 7), down=shortcut))
    for module, arguments in ((adaptor, {}), (ShapeAdaptor2d(), {"down": shortcut})):
        with pytest.raises(ValueError, match="down must be given with residual=True and only then"):
            module(keep, (6, 7), **arguments)


@pytest.mark.parametrize("align_corners", [True, False])
def test_gradients_to_both_branches_and_to_alpha(align_corners: bool) -> None:
    torch.manual_seed(0)
    down = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    keep = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)

    def run(down: Tensor, keep: Tensor, alpha: Tensor) -> Tensor:
        return shape_adaptor2d(down, keep, torch.sigmoid(alpha), (5, 1), align_corners=align_corners, residual=True)

    assert torch.autograd.gradcheck(run, (down, keep, alpha))
    assert torch.autograd.gradgradcheck(run, (down, keep, alpha))


def test_gradient_reaches_alpha_through_the_weights_only() -> None:
    x, adaptor = torch.randn(2, 3, 9, 11), ShapeAdaptor2d(alpha=0.3)
    y = adaptor(x)
    y.square().sum().backward()
    keep = shape_adaptor2d(x, x, 1.0, y.shape[-2:])
    low = shape_adaptor2d(nn.functional.max_pool2d(x, 2), x, 0.0, y.shape[-2:])
    w = torch.sigmoid(torch.tensor(0.3))
    grad = adaptor.shared_alpha().grad
    assert grad is not None
    torch.testing.assert_close(grad[0], (2 * y.detach() * (keep - low)).sum() * w * (1 - w), rtol=1e-4, atol=1e-4)


# --- dtypes, layouts, compilation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_good_as_its_dtype(dtype: torch.dtype) -> None:
    x = torch.randn(2, 4, 12, 10).to(dtype)
    adaptor = ShapeAdaptor2d(alpha=0.3).to(dtype)
    y = adaptor(x)
    assert y.dtype == dtype
    assert adaptor.shared_alpha().dtype == adaptor.weight().dtype == torch.float32
    exact = restated(x, adaptor.shared_alpha().item(), (y.shape[2], y.shape[3]), "max", True)
    resolution = torch.finfo(dtype).eps
    # each branch is rounded once after its interpolation, the mixture once more: half a unit each
    assert ((y.double() - exact).abs() <= resolution * x.double().abs().max()).all()
    y.float().sum().backward()
    assert adaptor.shared_alpha().grad is not None


def test_channels_last_gives_the_same_and_stays() -> None:
    x, adaptor = torch.randn(2, 4, 12, 10), ShapeAdaptor2d(alpha=0.3)
    y = adaptor(x.contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, adaptor(x))


def test_compiled_without_breaks_it_serves_every_alpha_and_size() -> None:
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    adaptor = ShapeAdaptor2d(alpha=0.0)
    compiled = torch.compile(adaptor, backend=counter, fullgraph=True)
    for alpha in (0.0, -1.0, 0.5, 2.0, -3.0):
        set_alpha(adaptor, alpha)
        x = torch.randn(2, 3, 16, 2, requires_grad=True)  # the width becomes one pixel, the mean of two
        y = compiled(x)
        torch.testing.assert_close(y, adaptor(x))
        adaptor.zero_grad()
        y.sum().backward()
        first = adaptor.shared_alpha().grad
        assert first is not None
        mine = first.clone()
        adaptor.zero_grad()
        adaptor(x).sum().backward()
        torch.testing.assert_close(mine, adaptor.shared_alpha().grad)
    assert counter.frame_count == 1
    torch._dynamo.reset()


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alpha": float("nan")}, ValueError, "alpha=nan: expected one number from -12 to 12"),
        ({"alpha": 12.5}, ValueError, "alpha=12.5"),
        ({"alpha": (1.0, 2.0)}, ValueError, "alpha="),
        ({"alpha": "1"}, TypeError, "alpha='1'"),
        ({"strides": 1.0}, ValueError, "strides=1.0: expected one or two"),
        ({"strides": (0.2, 2.0)}, ValueError, "strides="),
        ({"strides": None}, TypeError, "strides=None"),
        ({"reduce": "median"}, ValueError, "reduce='median'"),
        ({"bookkeeping": "floor"}, ValueError, "bookkeeping='floor'"),
        ({"limit": 0.5}, ValueError, "limit=0.5"),
        ({"limit": float("inf")}, ValueError, "limit=inf"),
        ({"bounds": (1.0, 0.5)}, ValueError, "bounds="),
        ({"tied_to": nn.Identity()}, TypeError, "tied_to is a Identity: expected a ShapeAdaptor2d or None"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ShapeAdaptor2d(**arguments)


def test_good_arguments_at_the_limits_are_taken() -> None:
    for arguments in ({"alpha": 12.0}, {"alpha": -12}, {"strides": (1.0, 1.5)}, {"limit": 1}, {"bounds": (0.6, 0.6)}):
        ShapeAdaptor2d(**arguments)


@pytest.mark.parametrize(
    ("down", "keep", "size", "error", "message"),
    [
        (torch.ones(1, 2, 2, 2), "x", (2, 2), TypeError, "keep is a str"),
        (
            torch.ones(1, 2, 2, 2, dtype=torch.int),
            torch.ones(1, 2, 4, 4),
            (2, 2),
            TypeError,
            "down is a tensor of torch.i",
        ),
        (torch.ones(1, 2, 2, 2), torch.ones(1, 2, 4, 4).double(), (2, 2), TypeError, "expected the same"),
        (torch.ones(2, 2, 2), torch.ones(1, 2, 4, 4), (2, 2), ValueError, r"down has shape \(2, 2, 2\)"),
        (torch.ones(1, 2, 2, 2), torch.ones(1, 2, 0, 4), (2, 2), ValueError, r"keep has shape \(1, 2, 0, 4\)"),
        (torch.ones(1, 3, 2, 2), torch.ones(1, 2, 4, 4), (2, 2), ValueError, r"expected the same \(N, C\)"),
        (torch.ones(1, 2, 2, 2), torch.ones(1, 2, 4, 4), (0, 2), ValueError, r"size=\(0, 2\)"),
        (torch.ones(1, 2, 2, 2), torch.ones(1, 2, 4, 4), (2.0, 2), TypeError, "size="),
        (torch.ones(1, 2, 2, 2), torch.ones(1, 2, 4, 4), (2,), ValueError, "size="),
    ],
)
def test_bad_maps_are_named(down: Any, keep: Any, size: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        shape_adaptor2d(down, keep, 0.5, size)


# --- as a learned resizer ---------------------------------------------------------------------------------------------


def test_converted_it_starts_as_for_transfer_and_takes_sizes() -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 24), pool=ShapeAdaptor2d)
    s = 0.5 + 0.5 / (1 + math.exp(2.19))
    first = (math.floor(32 * s), math.floor(24 * s))
    assert dynpool.sizes(model, (3, 32, 24)) == {
        "input": (32, 24),
        "1": first,
        "2": (math.floor(first[0] * s), math.floor(first[1] * s)),
    }
    for wanted in range(16, 32):
        side = math.floor(24 * (wanted + 0.5) / 32)
        dynpool.set_sizes(model, {"1": (wanted, side)})
        assert dynpool.sizes(model, (3, 32, 24))["1"] == (wanted, side)
    with pytest.raises(ValueError, match=r"no alpha resizes \(32, 24\) to \(30, 13\) pixels"):
        dynpool.set_sizes(model, {"1": (30, 13)})
    with pytest.raises(ValueError, match=r"no alpha resizes \(32, 24\) to \(32, 24\)"):
        dynpool.set_sizes(model, {"1": (32, 24)})
    with pytest.raises(ValueError, match=r"no alpha resizes \(32, 24\) to \(15, 11\)"):
        dynpool.set_sizes(model, {"1": (15, 11)})


def test_macs_gradient_is_that_of_the_scale_factor() -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=ShapeAdaptor2d)
    loss = dynpool.GMACsLoss(model, (3, 32, 32))
    assert loss().item() == pytest.approx(dynpool.count_macs(model, (3, 32, 32)).gmacs)
    loss().backward()
    alphas = [p.shared_alpha() for p in model.modules() if isinstance(p, ShapeAdaptor2d)]
    a, b = (p.detach().double().requires_grad_() for p in alphas)
    s, t = (0.5 + 0.5 * torch.sigmoid(p) for p in (a, b))
    ((32 * s) ** 2 * 8 * 72 + (32 * s * t) ** 2 * 8 * 72).sum().div(1e9).backward()
    for alpha, want in zip(alphas, (a.grad, b.grad), strict=True):
        assert alpha.grad is not None
        assert want is not None
        torch.testing.assert_close(alpha.grad.double(), want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("limit", [None, 5])
def test_frozen_it_computes_the_same_and_exports(limit: int | None) -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=partial(ShapeAdaptor2d, limit=limit, alpha=0.5)).eval()
    plain = dynpool.freeze(model)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain(x), model(x))
    assert set(plain.state_dict()) == set(two_resizers().state_dict())
    assert any(isinstance(m, FixedShapeAdaptor2d) for m in plain.modules())
    torch.testing.assert_close(torch.export.export(plain, (x,)).module()(x), model(x))


def test_alphas_stay_finite_in_bounds_and_within_trust() -> None:
    adaptor = ShapeAdaptor2d(alpha=0.0, bounds=(0.6, 0.9))
    for bad, expected in ((50.0, 0.9), (-50.0, 0.6), (math.inf, None), (math.nan, None)):
        previous = scale_factor(host_alphas([adaptor])[0][0])
        with torch.no_grad():
            adaptor.shared_alpha().fill_(bad)
        constrain_resizers([adaptor], trust=None)
        got = scale_factor(host_alphas([adaptor])[0][0])
        assert got == pytest.approx(previous if expected is None else expected)
    set_alpha(adaptor, 0.0)
    with torch.no_grad():
        adaptor.shared_alpha().fill_(5.0)
    constrain_resizers([adaptor], trust=0.1)
    assert scale_factor(host_alphas([adaptor])[0][0]) == pytest.approx(0.75 * 1.1)


def test_tied_ones_share_settings_and_copies_keep_the_tie() -> None:
    first = ShapeAdaptor2d((3.0, 3.0), alpha=0.5, limit=4, align_corners=False, bookkeeping="global")
    second = ShapeAdaptor2d(reduce="mean", tied_to=first)
    assert (second.kernel, second.limit, second.align_corners, second.keeps_fractions) == ((3, 3), 4, False, True)
    assert second.shared_alpha() is first.alpha
    assert second.reduce == "mean"
    pair = nn.ModuleList([first, second])
    for twin in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        owner, tied = twin
        assert isinstance(tied, ShapeAdaptor2d)
        assert tied.root() is owner
    assert list(pair.state_dict()) == ["0.alpha"]
    assert "limit=4" in repr(first)
    assert "tied" in repr(second)


def test_limit_holds_in_every_pass_whatever_the_alphas() -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=partial(ShapeAdaptor2d, limit=6, alpha=3.0))
    pools = [m for m in model.modules() if isinstance(m, ShapeAdaptor2d)]
    shapes: list[tuple[int, ...]] = []
    model.get_submodule("4").register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape[-2:])))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for pool in pools:
            set_alpha(pool, float(torch.rand(1, generator=generator) * 24 - 12))
        model(torch.zeros(1, 3, 32, 32))
        assert max(shapes[-1]) <= 6
    assert dynpool.sizes(model, (3, 32, 20))["2"][0] <= 6


def test_limited_weights_follow_the_limited_scale() -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=partial(ShapeAdaptor2d, limit=6, alpha=-0.4))
    first, second = (m for m in model.modules() if isinstance(m, ShapeAdaptor2d))
    model(torch.zeros(1, 3, 32, 32))
    s = scale_factor(first.shared_alpha().item())
    p = (6 / (32 * s * s)) ** 0.5
    assert p * s < 0.5  # more than the branches can give
    assert first.weight().item() == second.weight().item() == 0.0
    set_alpha(first, 4.0)
    set_alpha(second, -10.0)
    model(torch.zeros(1, 3, 32, 32))
    s, t = (scale_factor(m.shared_alpha().item()) for m in (first, second))
    p = (6 / (32 * s * t)) ** 0.5
    assert p < 1
    assert first.weight().item() == pytest.approx((s * p - 0.5) / 0.5, abs=1e-6)
    assert second.weight().item() == 0.0


# --- receptive fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@pytest.mark.parametrize(("size_in", "size_out"), [(16, 9), (16, 8), (17, 12), (15, 14), (5, 1), (2, 1)])
def test_footprint_is_what_the_branches_see(size_in: int, size_out: int, reduce: Reduce, align_corners: bool) -> None:
    """The widest distance between the first and the last input pixel of an output pixel, in each branch."""
    adaptor = ShapeAdaptor2d(reduce=reduce, align_corners=align_corners)

    def widest(count: int, kernel: int, window: int) -> int:
        spans = []
        for pixel in taps(count, size_out, align_corners) if count != size_out else [[(i, 1.0)] for i in range(count)]:
            seen = [i for i, weight in pixel if weight > 1e-12]
            spans.append(kernel * (max(seen) - min(seen)) + window)
        return max(spans)

    count = -(-size_in // 2) if reduce == "sample" else size_in // 2
    branches = widest(size_in, 1, 1), widest(count, 2, 1 if reduce == "sample" else 2)
    assert adaptor.footprint(size_in, size_out, 0) == (min(branches), max(branches))


def test_receptive_field_and_tracker_see_both_branches(tmp_path: Path) -> None:
    model = dynpool.convert(two_resizers(), (3, 32, 32), pool=ShapeAdaptor2d)
    report = receptive_field(model, (3, 32, 32))
    rows = {row.name: row for row in report.layers}
    assert (rows["1"].r_min, rows["1"].r_max) == ((4.0, 4.0), (6.0, 6.0))  # 2 pixels, or 2 windows of 2
    record = IMinTracker(model, (3, 32, 32), tmp_path / "log.jsonl").log(0)
    assert record["i_min"] == list(report.i_min)
    assert record["alphas"]["1"] == pytest.approx([-2.19, -2.19])


def test_receptive_field_of_the_residual_form_takes_both_branches() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shortcut = nn.Conv2d(3, 8, 1, stride=2)
            self.weights = nn.Conv2d(3, 8, 3, padding=1)
            self.adaptor = ShapeAdaptor2d(alpha=0.0, residual=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.adaptor(self.weights(x), down=self.shortcut(x))
            return y

    block = nn.Sequential(Block(), nn.Conv2d(8, 8, 3, padding=1))
    assert block(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 24, 24)
    rows = receptive_field(block, (3, 32, 32)).layers
    # shortcut: 1 pixel, then two of its pixels, 2 apart; weights: 3 pixels, then two side by side
    assert (rows[-1].r_min_in, rows[-1].r_max[0]) == ((3.0, 3.0), 4 + 2 * 32 / 24)
    assert dynpool.count_macs(block, (3, 32, 32)).total == 16 * 16 * 8 * 3 + 32 * 32 * 8 * 27 + 24 * 24 * 8 * 72
