"""The Shape Adaptor with published=True: as the authors' code computes it (github.com/lorenmt/shape-adaptor).

`adaptor` and `start` restate the behaviour of that code for one square map, pixel by pixel in float64.
"""

import copy
import math
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.func import functional_call

import dynpool
from dynpool.baselines import (
    EveryFewSteps,
    FixedShapeAdaptor2d,
    ShapeAdaptor2d,
    alpha_optimizer,
    initial_alpha,
    shape_adaptor2d,
    shape_adaptor_network,
)
from tests.networks import two_resizers

Rows = list[list[float]]


def line(values: list[float], out: int) -> list[float]:
    """One axis interpolated with aligned corners; a single output pixel is the first one."""
    step = (len(values) - 1) / (out - 1) if out > 1 else 0.0
    found = []
    for i in range(out):
        low = min(int(i * step), len(values) - 1)
        rest = i * step - low
        found.append((1 - rest) * values[low] + rest * values[min(low + 1, len(values) - 1)])
    return found


def resized(rows: Rows, out: int) -> Rows:
    wide = [line(row, out) for row in rows]
    return [list(row) for row in zip(*(line(list(column), out) for column in zip(*wide, strict=True)), strict=True)]


def max_pooled(rows: Rows, *, up: bool) -> Rows:
    n = len(rows)
    count = -(-n // 2) if up else n // 2
    return [
        [max(rows[i][k] for i in range(2 * a, min(2 * a + 2, n)) for k in range(2 * b, min(2 * b + 2, n)))
         for b in range(count)]
        for a in range(count)
    ]  # fmt: skip


def adaptor(rows: Rows, alpha: float, size: int, *, p: float = 1.0, up: bool = False) -> Tensor:
    """(1 - w) * resize(pool(x)) + w * resize(x), w = sigmoid(alpha) p + (p - 1) r1 / (r2 - r1), of either sign."""
    w = p / (1 + math.exp(-alpha)) + (p - 1)
    low, keep = (torch.tensor(resized(m, size), dtype=torch.float64) for m in (max_pooled(rows, up=up), rows))
    return (1 - w) * low + w * keep


def random_map(n: int) -> Tensor:
    return torch.randn(1, 1, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


CASES = [
    pytest.param(9, 0.3, 7, 1.0, "local", id="nothing differs"),
    pytest.param(9, 0.3, 1, 1.0, "local", id="one pixel"),
    pytest.param(9, -0.4, 4, 0.7, "local", id="negative weight"),
    pytest.param(9, 0.3, 7, 1.0, "global", id="pools round up"),
    pytest.param(5, -1.0, 1, 0.4, "global", id="all of it"),
]


def published(alpha: float, p: float, bookkeeping: str) -> ShapeAdaptor2d:
    made = ShapeAdaptor2d(alpha=alpha, limit=4, bookkeeping=bookkeeping, published=True)  # type: ignore[arg-type]
    made.scaled_by((p, p))  # as a network does in front of every pass
    return made


@pytest.mark.parametrize(("n", "alpha", "size", "p", "bookkeeping"), CASES)
def test_values_are_those_of_the_authors_code(n: int, alpha: float, size: int, p: float, bookkeeping: str) -> None:
    x, module = random_map(n), published(alpha, p, bookkeeping)
    held = module.shared_alpha().item()
    expected = adaptor(x[0, 0].tolist(), held, size, p=p, up=bookkeeping == "global")
    torch.testing.assert_close(module(x, (size, size))[0, 0], expected, rtol=0, atol=1e-6)  # alpha is float32
    own = ShapeAdaptor2d(alpha=alpha, limit=4, bookkeeping=bookkeeping)  # type: ignore[arg-type]
    own.scaled_by((p, p))
    same = torch.allclose(own(x, (size, size)), module(x, (size, size)))
    assert same == (n == 9 and size == 7 and bookkeeping == "local")
    fixed = module.frozen((size, size))
    torch.testing.assert_close(fixed(x), module(x, (size, size)), rtol=0, atol=1e-6)
    assert "published" in repr(module)
    assert "published" in repr(fixed)


@pytest.mark.parametrize(("n", "alpha", "size", "p", "bookkeeping"), CASES)
def test_gradients_are_those_of_the_authors_code(n: int, alpha: float, size: int, p: float, bookkeeping: str) -> None:
    """To alpha also where the weight is negative: it is nowhere cut off."""
    x, module = random_map(n).requires_grad_(), published(alpha, p, bookkeeping).double()
    module.share = torch.tensor(p, dtype=torch.float64)
    value = module.shared_alpha().detach().double().requires_grad_()

    def run(x: Tensor, value: Tensor) -> Tensor:
        y: Tensor = functional_call(module, {"alpha": value}, (x, (size, size)))
        return y

    assert torch.autograd.gradcheck(run, (x, value))
    (slope,) = torch.autograd.grad(run(x, value).square().sum(), value)
    step, rows, up = 1e-5, x[0, 0].tolist(), bookkeeping == "global"
    above, below = (adaptor(rows, value.item() + d, size, p=p, up=up).square().sum() for d in (step, -step))
    assert slope.item() == pytest.approx((above - below).item() / (2 * step), rel=1e-6, abs=1e-8)
    assert slope.item() != 0


def test_compiled_it_is_the_same() -> None:
    module, x = published(-1.0, 0.4, "global"), random_map(5).float()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, (1, 1)), module(x, (1, 1)))
    torch._dynamo.reset()


def test_one_pixel_is_the_first_for_receptive_fields_too() -> None:
    assert ShapeAdaptor2d().footprint(8, 1, 0) == (8, 8)
    assert ShapeAdaptor2d(published=True).footprint(8, 1, 0) == (1, 2)


def test_a_pool_that_rounds_up_is_seen_by_receptive_fields() -> None:
    """Nine pixels to five: five windows are taken as they are, four are interpolated."""
    assert ShapeAdaptor2d(bookkeeping="global").footprint(9, 5, 0) == (1, 4)
    assert ShapeAdaptor2d(bookkeeping="global", published=True).footprint(9, 5, 0) == (1, 2)


def test_alpha_has_no_limit_of_its_own() -> None:
    module, x = ShapeAdaptor2d(alpha=600.0, published=True), random_map(8)
    assert torch.equal(module(x), x)  # w = 1 and s = 1
    with torch.no_grad():
        module.shared_alpha().fill_(-600.0)
    assert torch.equal(module(x), nn.functional.max_pool2d(x, 2))
    assert module.shared_alpha().item() == -600
    with pytest.raises(ValueError, match="alpha=701: expected one number from -700 to 700"):
        ShapeAdaptor2d(alpha=701, published=True)


def test_weights_of_either_sign_are_taken_as_published_and_no_others() -> None:
    x = random_map(4)
    for weight in (-1, -0.5, 1):
        FixedShapeAdaptor2d((2, 2), weight, published=True)
        shape_adaptor2d(x, x, weight, (2, 2), published=True)
    for make in (partial(FixedShapeAdaptor2d, (2, 2)), lambda weight, **k: shape_adaptor2d(x, x, weight, (2, 2), **k)):
        with pytest.raises(ValueError, match=r"weight=-1\.1: expected a number from -1 to 1"):
            make(-1.1, published=True)
        with pytest.raises(ValueError, match=r"weight=-0\.5: expected a number from 0 to 1"):
            make(-0.5)
    with pytest.raises(ValueError, match="bookkeeping='up'"):
        FixedShapeAdaptor2d((2, 2), 0.5, bookkeeping="up")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="published=1: expected True or False"):
        ShapeAdaptor2d(published=1)  # type: ignore[arg-type]


# --- in networks ------------------------------------------------------------------------------------------------------


def limited(*, is_published: bool) -> nn.Module:
    pool = partial(ShapeAdaptor2d, limit=6, alpha=-0.4, published=is_published)
    return dynpool.convert(two_resizers(), (3, 32, 32), pool=pool).eval()


def test_a_bounded_network_keeps_its_sizes_and_trains_where_ours_stands_still(tmp_path: Path) -> None:
    ours, theirs = limited(is_published=False), limited(is_published=True)
    theirs.load_state_dict({k: v.clone() for k, v in ours.state_dict().items()})
    assert dynpool.sizes(ours, (3, 32, 32)) == dynpool.sizes(theirs, (3, 32, 32))
    assert dynpool.count_macs(ours, (3, 32, 32)).total == dynpool.count_macs(theirs, (3, 32, 32)).total
    x = torch.randn(2, 3, 32, 32)
    for model, moves in ((ours, False), (theirs, True)):
        model(x).square().sum().backward()
        alphas = [m.shared_alpha() for m in model.modules() if isinstance(m, ShapeAdaptor2d)]
        assert all(bool(a.grad) == moves for a in alphas)
    assert all(m.weight().item() < 0 for m in theirs.modules() if isinstance(m, ShapeAdaptor2d))
    frozen = dynpool.freeze(theirs)
    assert torch.equal(frozen(x), theirs(x))
    torch.testing.assert_close(torch.export.export(frozen, (x,)).module()(x), theirs(x))
    for model in (theirs, frozen):
        dynpool.save(model, tmp_path / "model.safetensors")
        assert torch.equal(dynpool.load(two_resizers(), tmp_path / "model.safetensors").eval()(x), theirs(x))
    with pytest.raises(RuntimeError, match="of another conversion"):
        ours.load_state_dict(theirs.state_dict())


def test_tied_ones_and_copies_are_published_as_well() -> None:
    first = ShapeAdaptor2d(published=True)
    pair = nn.ModuleList([first, ShapeAdaptor2d(tied_to=first)])
    for one in (*pair, *copy.deepcopy(pair), *pickle.loads(pickle.dumps(pair))):
        assert one.published


def start(size_in: int, size_out: int, adaptors: int) -> float:
    q = (size_out / size_in) ** (1 / adaptors)
    return math.log(1e-4) if size_in * 0.5**adaptors > size_out else math.log((q - 0.5) / (1 - q) + 1e-4)


@pytest.mark.parametrize(
    ("size_in", "size_out", "adaptors"), [(32, 8, 4), (224, 8, 6), (32, 2, 3), (32, 8, 2), (40, 39, 1)]
)
def test_alpha_starts_as_published(size_in: int, size_out: int, adaptors: int) -> None:
    found = initial_alpha(size_in, size_out, adaptors, published=True)
    assert found == pytest.approx(start(size_in, size_out, adaptors), abs=1e-6)


def six_layers() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    for _ in range(7):
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def test_networks_start_as_published(tmp_path: Path) -> None:
    standard = shape_adaptor_network(six_layers(), (3, 32, 32), published=True)
    found = [m for m in standard.modules() if isinstance(m, ShapeAdaptor2d)]
    assert [m.shared_alpha().item() for m in found] == pytest.approx([start(32, 8, 4)] * 4, abs=1e-6)
    assert [h for h, _ in dynpool.sizes(standard, (3, 32, 32)).values()] == [32, 22, 15, 10, 7]
    low = shape_adaptor_network(six_layers(), (3, 32, 32), last_size=1, published=True)  # an error by default
    assert [h for h, _ in dynpool.sizes(low, (3, 32, 32)).values()] == [32, 16, 8, 4, 2]
    for side, adaptors in ((63, 2), (64, 4), (256, 4)):
        searching = shape_adaptor_network(six_layers(), (3, side, side), mode="autosc", published=True)
        made = [m for m in searching.modules() if isinstance(m, ShapeAdaptor2d)]
        assert len(made) == adaptors
        assert all(m.published for m in made)
    drifting = shape_adaptor_network(six_layers(), (3, 27, 27), mode="autosc", parity=True, adaptors=2)
    both = shape_adaptor_network(six_layers(), (3, 27, 27), mode="autosc", published=True, adaptors=2)
    assert dynpool.sizes(both, (3, 27, 27)) == dynpool.sizes(drifting, (3, 27, 27))
    assert all(m.published for m in shape_adaptor_network(two_resizers(), (3, 32, 32), mode="autotl", published=True)
               .modules() if isinstance(m, ShapeAdaptor2d))  # fmt: skip
    dynpool.save(both, tmp_path / "model.pt")
    again, x = dynpool.load(six_layers(), tmp_path / "model.pt"), torch.randn(1, 3, 27, 27)
    assert torch.equal(again(x), both(x))


# --- steps of the alphas ----------------------------------------------------------------------------------------------


def test_the_first_batch_is_a_step_and_every_nth_after_it() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    steps = EveryFewSteps(torch.optim.SGD([parameter], lr=1.0), every=3, published=True)
    assert [steps.step() for _ in range(7)] == [True, False, False, True, False, False, True]
    steps.calls = 0  # a new epoch
    assert steps.step()


def test_the_momentum_is_nesterovs() -> None:
    model = ShapeAdaptor2d(alpha=0.0)
    alphas = alpha_optimizer(model, lr=0.1, every=1, published=True)
    value, velocity = 0.0, 0.0
    for grad in (1.0, -0.5, 2.0):
        model.shared_alpha().grad = torch.tensor([grad])
        alphas.step()
        velocity = 0.9 * velocity + grad
        value -= 0.1 * (grad + 0.9 * velocity)
    assert model.shared_alpha().item() == pytest.approx(value, rel=1e-6)
    with pytest.raises(ValueError, match="momentum=0: expected a number above 0 and below 1"):
        alpha_optimizer(model, momentum=0, published=True)
