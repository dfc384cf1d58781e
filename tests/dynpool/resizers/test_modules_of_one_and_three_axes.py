"""DynOPool1d and DynOPool3d placed by hand: trained, bounded, saved, copied, compiled, exported, frozen, refused."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.baselines import refine, shape_adaptor_network
from dynpool.resizers.dynopool import DynOPool1d, DynOPool2d, DynOPool3d, host_alphas, set_alpha
from dynpool.resizers.fixed import FixedPool1d, FixedPool3d
from dynpool.resizers.functional import Reduce, dynopool1d, dynopool3d
from tests.dynpool.resizers.maps import composition, every_reduction, random_map

POOLS: dict[int, type[Any]] = {1: DynOPool1d, 3: DynOPool3d}
OPERATORS: dict[int, Callable[..., Tensor]] = {1: dynopool1d, 3: dynopool3d}
FIXED: dict[int, type[Any]] = {1: FixedPool1d, 3: FixedPool3d}
CONVOLUTIONS: dict[int, type[Any]] = {1: nn.Conv1d, 3: nn.Conv3d}
START = {1: 2.5, 3: (1.5, 2.0, 3.0)}
SHAPE = {1: (30,), 3: (6, 8, 9)}
both = pytest.mark.parametrize("axes", [1, 3])


def network(axes: int) -> Any:
    """A model whose layer "1" is the pool."""
    conv = CONVOLUTIONS[axes]
    return nn.Sequential(conv(2, 4, 3, padding=1), POOLS[axes](START[axes]), conv(4, 2, 3, padding=1))


def maps(axes: int, dtype: torch.dtype = torch.float32, channels: int = 2) -> Tensor:
    return random_map(2, channels, *SHAPE[axes], dtype=dtype)


@every_reduction
@both
def test_forward_is_the_function_and_the_gradient_reaches_the_parameter(reduce: Reduce, axes: int) -> None:
    pool, x = POOLS[axes](START[axes], reduce=reduce), maps(axes)
    alpha = pool.alpha.detach().clone().requires_grad_()
    y, expected = pool(x), OPERATORS[axes](x, alpha, reduce=reduce)
    assert torch.equal(y, expected)
    assert torch.equal(pool(x[0]), y[0])
    assert pool(x, (3,) * axes).shape == (2, 2, *(3,) * axes)
    dy = torch.randn_like(y)
    y.backward(dy)
    assert torch.equal(pool.alpha.grad, torch.autograd.grad(expected, alpha, dy)[0])
    assert pool.alpha.grad.shape == (axes,)
    assert pool.alpha.grad.abs().min() > 0


@both
def test_alphas_are_optimised_apart_and_stay_in_bounds(axes: int) -> None:
    model = network(axes)
    weights, alphas = dynpool.parameter_groups(model, alpha_lr=1e4)
    pool = model[1]
    assert (alphas["name"], alphas["weight_decay"]) == ("alphas", 0.0)
    assert alphas["params"][0] is pool.alpha
    assert len(weights["params"]) == 4
    assert list(dynpool.resolutions(model)) == ["1"]
    optimizer = torch.optim.SGD([weights, alphas])
    for _ in range(3):
        before = host_alphas([pool])[0]
        optimizer.zero_grad()
        model(maps(axes)).square().mean().backward()
        optimizer.step()
        dynpool.constrain(model)
        after = host_alphas([pool])[0]
        assert len(after) == axes
        assert all(0.5 <= a <= 8 and a / b < 1.11 and b / a < 1.11 for a, b in zip(after, before, strict=True))
        assert after != before
    with torch.no_grad():
        pool.alpha.fill_(math.nan)
    dynpool.constrain(model)
    assert host_alphas([pool])[0] == after
    with torch.no_grad():
        pool.alpha.fill_(1e9)
    assert (
        model(maps(axes)).shape[2:]
        == pool.frozen([dynpool.size_math.output_size(n, 8.0) for n in SHAPE[axes]])(maps(axes)).shape[2:]
    )  # without constrain a pass itself brings it back
    assert pool.alpha.tolist() == [8.0] * axes


@both
def test_state_dict_copies_and_ties(axes: int) -> None:
    first, second = POOLS[axes](START[axes], bounds=(0.1, 1.0)), POOLS[axes](4.0)
    assert list(first.state_dict()) == ["alpha"]
    second.load_state_dict(first.state_dict())
    assert second.bounds == (0.1, 1.0)
    x = maps(axes)
    assert torch.equal(second(x), first(x))
    tied = POOLS[axes](tied_to=first)
    assert tied.alpha is None
    assert torch.equal(tied(x), first(x))
    again: Any = copy.deepcopy(nn.ModuleList([first, tied]))
    assert again[1].root() is again[0]
    set_alpha(again[0], 3.0)
    assert again[1](x).shape != first(x).shape
    assert first.half().alpha.dtype == torch.float32
    with pytest.raises(TypeError, match=f"tied_to is a DynOPool2d: expected a DynOPool{axes}d or None"):
        POOLS[axes](tied_to=DynOPool2d())
    with pytest.raises(RuntimeError, match="finite values that give positive strides"):
        first.load_state_dict({"alpha": torch.full((axes,), math.inf)})


def test_repr_shows_alpha_reduction_and_bounds() -> None:
    assert repr(DynOPool1d(2.5)) == "DynOPool1d(alpha=(2.5), reduce='max', bounds=(0.125, 2))"
    assert repr(DynOPool3d((1, 2, 3), reduce="mean")) == "DynOPool3d(alpha=(1, 2, 3), reduce='mean', bounds=(0.125, 2))"
    assert repr(FixedPool1d(4)) == "FixedPool1d(size=(4,), reduce='max')"
    assert repr(FixedPool3d((4, 5, 6))) == "FixedPool3d(size=(4, 5, 6), reduce='max')"


@both
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile_fullgraph_makes_one_graph_for_all_alphas(axes: int, backend: str) -> None:
    torch._dynamo.reset()
    model, x = network(axes), maps(axes)
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for alpha in (2.0, 3.1, 1.4):
        with torch.no_grad():
            model[1].alpha.fill_(alpha)
        results = []
        for run in (compiled, model):
            model.zero_grad()
            y = run(x)
            y.square().sum().backward()
            results.append((y.detach(), model[1].alpha.grad, model[0].weight.grad))
        torch.testing.assert_close(results[0], results[1])
    assert counter.frame_count == 1


# ------------------------------------------------------------------------------------------------------- fixed sizes


@every_reduction
@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_frozen_form_has_the_values_of_the_operator(reduce: Reduce, axes: int, dtype: torch.dtype) -> None:
    """To rounding: in half precision, that of PyTorch's own interpolation, which rounds the queries."""
    x = maps(axes, dtype)
    sizes: list[Any] = [(3, 4, 3), (7, 11, 5), SHAPE[3]] if axes == 3 else [(3,), (41,), (15,), SHAPE[1]]
    for size in sizes:
        fixed = POOLS[axes](reduce=reduce).frozen(size)
        assert isinstance(fixed, FIXED[axes])
        found, expected = fixed(x), OPERATORS[axes](x, 2.0, reduce=reduce, size=size)
        assert found.dtype == dtype
        torch.testing.assert_close(fixed(x[0]), found[0])
        if dtype in (torch.float32, torch.float64):
            torch.testing.assert_close(found, expected)
            continue
        exact = OPERATORS[axes](x.double(), 2.0, reduce=reduce, size=size)
        if reduce == "sample":
            rounding = torch.finfo(dtype).eps * x.double().abs().max()
        else:
            rounding = (composition(x, size, reduce).double() - exact).abs().max()
        assert (found.double() - exact).abs().max() <= 2 * rounding


@every_reduction
@both
def test_the_frozen_form_keeps_infinite_and_nan_pixels_within_their_cells(reduce: Reduce, axes: int) -> None:
    x = maps(axes)
    for value in (math.inf, -math.inf, math.nan):
        x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.02] = value
    for size in [(3, 4, 3)[:axes], (5, 7, 11)[:axes]]:
        expected = OPERATORS[axes](x, 2.0, reduce=reduce, size=size)
        torch.testing.assert_close(POOLS[axes](reduce=reduce).frozen(size)(x), expected, equal_nan=True)


@every_reduction
@both
def test_the_frozen_form_is_exported_and_scripted(reduce: Reduce, axes: int) -> None:
    x = maps(axes)
    fixed = POOLS[axes](reduce=reduce).frozen((5, 3, 4)[:axes])
    expected = fixed(x)
    torch.testing.assert_close(torch.export.export(fixed, (x,)).module()(x), expected)
    torch.testing.assert_close(torch.jit.script(fixed)(x), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(nn.Sequential(fixed))(x), expected)


@both
def test_bad_fixed_sizes_are_refused(axes: int) -> None:
    allowed = {1: "expected one integer of at least 1", 3: r"expected \(depth, height, width\), three integers"}[axes]
    for size in ((0,) * axes, (2,) * (axes + 1)):
        with pytest.raises(ValueError, match=f"size=.*{allowed}"):
            FIXED[axes](size)
    with pytest.raises(TypeError, match=f"size=.*{allowed}"):
        FIXED[axes](2.5)
    with pytest.raises(ValueError, match="reduce='median'"):
        FIXED[axes]((2,) * axes, reduce="median")


# ---------------------------------------------------------------------------------------- bad input, and what refuses


@both
def test_bad_alphas_and_maps_are_refused(axes: int) -> None:
    allowed = {1: "expected one number", 3: r"expected one or three \(depth, height, width\) numbers"}[axes]
    for alpha in (0.0, 0.49, 8.1, math.nan, math.inf, (2.0, 2.0), (0.4,) * axes):
        for make in (POOLS[axes], lambda alpha: set_alpha(POOLS[axes](), alpha)):
            with pytest.raises(ValueError, match=rf"alpha=.*: {allowed} from 0\.5 to 8"):
                make(alpha)
    with pytest.raises(TypeError, match=f"alpha='2': {allowed}"):
        POOLS[axes]("2")
    with pytest.raises(ValueError, match="reduce='median'"):
        POOLS[axes](reduce="median")
    for shape in [(4,) * axes, (1, 1) + (0,) * axes]:
        with pytest.raises(ValueError, match="x has shape"):
            POOLS[axes]()(torch.zeros(shape))
    with pytest.raises(TypeError, match="x is a str: expected a tensor"):
        POOLS[axes]()("x")


@both
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("sizes at this input_size", lambda model: dynpool.sizes(model, (2, 32, 32))),
        ("a cost at this input_size", lambda model: dynpool.GMACsLoss(model, (2, 32, 32))),
        ("a cost at this input_size", lambda model: dynpool.LatencyModel(model, (2, 32, 32))),
        ("refine", lambda model: refine(model, (2, 32, 32))),
        ("shape_adaptor_network", lambda model: shape_adaptor_network(model, (2, 32, 32))),
    ],
)
def test_they_are_refused_at_an_input_of_other_axes(axes: int, name: str, call: Callable[[nn.Module], Any]) -> None:
    message = rf"model has a DynOPool{axes}d at '1': {name} handles learned resizers of \(height, width\) alone"
    with pytest.raises(ValueError, match=message):
        call(network(axes))


@both
def test_a_model_with_them_is_not_converted(axes: int) -> None:
    with pytest.raises(ValueError, match="already has learned resizers"):
        dynpool.convert(network(axes), (2, *SHAPE[axes]))


@every_reduction
@both
def test_sizes_are_set_and_frozen(reduce: Reduce, axes: int) -> None:
    model, wanted = network(axes), (5, 3, 4)[:axes]
    model[1].reduce = reduce
    dynpool.set_sizes(model, {"1": wanted}, input_size=(2, *SHAPE[axes]))
    x = maps(axes)
    assert model[1](maps(axes, channels=4)).shape[2:] == wanted
    assert dynpool.sizes(model, (2, *SHAPE[axes]))["1"] == wanted
    frozen = dynpool.freeze(model)
    assert not any("alpha" in name for name in frozen.state_dict())
    for shape in (x.shape, (1, 2, *(n + 3 for n in SHAPE[axes]))):
        x = torch.randn(shape)
        torch.testing.assert_close(frozen(x), model(x))
    with pytest.raises(ValueError, match=r"sizes\['1'\] must be \(.*\), ints of at least 2 pixels"):
        dynpool.set_sizes(model, {"1": (4, 4, 4, 4)[: axes + 1]}, input_size=(2, *SHAPE[axes]))
    with pytest.raises(ValueError, match=r"set_sizes needs input_size=\(channels, "):
        dynpool.set_sizes(model, {"1": wanted})


@both
def test_receptive_fields_and_macs_know_them(axes: int) -> None:
    model = network(axes)
    set_alpha(model[1], 2.0)
    input_size = (2, *[n // 2 * 2 for n in SHAPE[axes]])
    rows = {row.name: row for row in receptive_field(model, input_size).layers}
    assert rows["1"].kernel == (2,) * axes
    assert rows["2"].r_min == (3 + 1 + 2 * 2,) * axes
    half = math.prod(n // 2 for n in SHAPE[axes])
    assert dynpool.count_macs(model, input_size).by_layer["2"] == half * 2 * 4 * 3**axes
