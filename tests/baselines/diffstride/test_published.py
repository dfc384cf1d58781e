"""DiffStride with published=True: as the authors' code computes it (github.com/google-research/diffstride).

`layer` restates that code's layer for one map in float64, with Fourier transforms as explicit sums.
"""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dynpool
from dynpool.baselines import DiffStride2d, FixedDiffStride2d, FixedSpectralPooling2d, diffstride2d


def waves(frequencies: list[int], n: int, sign: int) -> Tensor:
    """exp(sign * 2 pi i * frequency * position / n), (frequencies, n)."""
    turns = torch.tensor([[f * k % n / n for k in range(n)] for f in frequencies], dtype=torch.float64)
    return torch.exp(sign * 2j * math.pi * turns)


def written(strides: list[float], size: tuple[int, int], smoothness: float) -> list[float]:
    """The parameter, one number if shared or two, as a pass leaves it."""
    bounds = [math.inf if n == smoothness else n / (n - smoothness) for n in size]
    if len(strides) == 1:
        bounds = [max(bounds)]
    return [max(s, b, 1.0) for s, b in zip(strides, bounds, strict=True)]


def layer(x: Tensor, strides: Tensor, smoothness: float, *, cropping: bool = True) -> Tensor:
    """The output for a map (H, W) and strides that were `written`, differentiable to both."""
    height, width = x.shape
    vertical, horizontal = strides.expand(2)
    reach_v = (height / vertical).clamp(min=2.0) / 2
    reach_h = (width / horizontal).clamp(min=2.0) / 2 + 1
    half = list(range(height // 2 + height % 2))
    order = half[height % 2 :][::-1] + half
    distances = torch.tensor(order, dtype=torch.float64).roll(height // 2)
    mask_v = ((smoothness + reach_v - distances) / smoothness).clamp(0, 1)
    mask_h = ((smoothness + reach_h - torch.arange(width // 2 + 1)) / smoothness).clamp(0, 1)
    spectrum = waves(list(range(height)), height, -1) @ x.to(torch.complex128)
    spectrum = spectrum @ waves(list(range(width // 2 + 1)), width, -1).T
    spectrum = spectrum * mask_v[:, None] * mask_h
    if cropping:
        spectrum = spectrum[mask_v > 0][:, mask_h > 0]
    rows, bins = spectrum.shape
    columns = 2 * (bins - 1)  # the length that a real inverse transform has by default
    lines = waves(list(range(rows)), rows, 1).T @ spectrum / rows
    twice = torch.tensor([1.0 if 2 * f % columns == 0 else 2.0 for f in range(bins)], dtype=torch.float64)
    result: Tensor = ((lines * twice) @ waves(list(range(bins)), columns, 1) / columns).real
    return result


def random_map(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


CASES: list[Any] = [
    pytest.param((12, 14), [1.7, 2.3], 2.0, True, id="nothing differs"),
    pytest.param((16, 6), [1.1], 2.3, True, id="shared, the narrow axis bounds"),
    pytest.param((6, 16), [1.1], 2.3, True, id="shared, the short axis bounds"),
    pytest.param((12, 14), [2.5], 2.0, True, id="shared, above both bounds"),
    pytest.param((7, 21), [1.1], 8.0, True, id="shared, one axis below R"),
    pytest.param((11, 9), [1.7, 2.3], 2.0, False, id="odd width, not cropped"),
    pytest.param((9, 12), [1.7, 2.3], 2.0, False, id="even width, not cropped"),
    pytest.param((8, 13), [2.0, 1.5], 8.0, True, id="as many rows as R"),
    pytest.param((13, 8), [2.0], 8.0, True, id="shared, as many columns as R"),
]


@pytest.mark.parametrize(("size", "strides", "smoothness", "cropping"), CASES)
def test_values_and_gradients_are_those_of_the_authors_code(
    size: tuple[int, int], strides: list[float], smoothness: float, cropping: bool
) -> None:
    x, start = random_map(*size).requires_grad_(), written(strides, size, smoothness)
    theirs = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    expected = layer(x, theirs, smoothness, cropping=cropping)
    weights = random_map(*expected.shape)
    dx, slope = torch.autograd.grad((expected * weights).sum(), (x, theirs))

    given_strides = torch.tensor(strides, dtype=torch.float64, requires_grad=True)
    y = diffstride2d(x[None], given_strides, smoothness=smoothness, cropping=cropping, published=True)[0]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    own_dx, own_slope = torch.autograd.grad((y * weights).sum(), (x, given_strides))
    torch.testing.assert_close(own_dx, dx, rtol=0, atol=1e-11)
    torch.testing.assert_close(own_slope, slope, rtol=0, atol=1e-10)

    alpha: Any = strides[0] if len(strides) == 1 else strides
    pool = DiffStride2d(alpha, shared=len(strides) == 1, smoothness=smoothness, cropping=cropping, published=True)
    z = pool(x[None])[0]
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-5)  # alpha is float32
    held = [min(s, 8.0) if math.isfinite(s) else g for s, g in zip(start, strides, strict=True)]
    assert pool.shared_alpha().tolist()[: len(held)] == pytest.approx(held, rel=1e-6)
    (z * weights).sum().backward()
    grad = pool.shared_alpha().grad
    assert grad is not None
    torch.testing.assert_close(grad[: len(slope)].double(), slope, rtol=0, atol=1e-4)
    fixed = pool.frozen((z.shape[-2], z.shape[-1]))
    assert torch.equal(fixed(x[None])[0], z)
    assert "published" in repr(pool)
    assert "published" in repr(fixed)


@pytest.mark.parametrize(("size", "strides", "smoothness", "cropping"), CASES[1:-1])
def test_by_default_these_differ(
    size: tuple[int, int], strides: list[float], smoothness: float, cropping: bool
) -> None:
    x, given_strides = random_map(1, *size), torch.tensor(strides, dtype=torch.float64)
    options: dict[str, Any] = {"smoothness": smoothness, "cropping": cropping}
    ours = diffstride2d(x, given_strides, **options)
    theirs = diffstride2d(x, given_strides, **options, published=True)
    bounds = [n / (n - smoothness) if n > smoothness else 1.0 for n in size]
    same = strides[0] > max(bounds) if len(strides) == 1 else size == (9, 12)
    assert (ours.shape == theirs.shape and torch.allclose(ours, theirs)) == same


def test_gradcheck_of_a_shared_stride_and_of_a_width_cut() -> None:
    x = random_map(1, 6, 5).requires_grad_()
    for stride, cropping in ((torch.tensor([2.31]), True), (torch.tensor([1.83, 2.31]), False)):
        value = stride.double().requires_grad_()
        run = partial(diffstride2d, smoothness=2.0, cropping=cropping, published=True)
        assert torch.autograd.gradcheck(run, (x, value))


def test_an_optimiser_steps_from_the_bound_and_not_from_below_it() -> None:
    """The parameter is raised in the pass: steps below the bound do not add up."""
    x, rate = random_map(2, 16, 16), 0.05
    pool = DiffStride2d(1.0, smoothness=2.3, published=True)
    optimizer = torch.optim.SGD(pool.parameters(), lr=rate)
    value = [1.0, 1.0]
    for _ in range(4):
        optimizer.zero_grad()
        pool(x).square().mean().backward()
        optimizer.step()
        theirs = torch.tensor(written(value, (16, 16), 2.3), dtype=torch.float64, requires_grad=True)
        torch.stack([layer(one, theirs, 2.3) for one in x]).square().mean().backward()
        assert theirs.grad is not None
        value = (theirs.detach() - rate * theirs.grad).tolist()
        assert pool.shared_alpha().tolist() == pytest.approx(value, rel=1e-5)


def test_the_bound_is_that_of_the_map_and_within_those_of_the_module() -> None:
    pool = DiffStride2d(1.0, published=True, bounds=(1 / 3, 1.0))
    pool(random_map(1, 32, 16))
    assert pool.shared_alpha().tolist() == pytest.approx([32 / 28, 16 / 12])
    with torch.no_grad():
        pool.shared_alpha().fill_(1.0)
    dynpool.constrain(pool, trust=math.inf)  # is not bound to the last map
    assert pool.shared_alpha().tolist() == [1.0, 1.0]
    pool(random_map(1, 5, 4))  # 5 / (5 - 4) is more than the bounds allow, 4 / (4 - 4) is infinite
    assert pool.shared_alpha().tolist() == [3.0, 1.0]
    assert pool.to("meta")(torch.zeros(1, 32, 32, device="meta"), (9, 9)).shape == (1, 9, 9)  # without values


def test_compiled_it_is_the_same() -> None:
    torch._dynamo.reset()
    pool, x = DiffStride2d(1.0, shared=True, published=True), random_map(1, 32, 12).float()
    twin = copy.deepcopy(pool)
    assert torch.equal(torch.compile(pool, backend="eager")(x, (28, 12)), twin(x, (28, 12)))
    assert torch.equal(pool.shared_alpha(), twin.shared_alpha())
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiffStride2d(symmetric=True, published=True), "symmetric=True: expected False with published=True"),
        (lambda: FixedDiffStride2d(2.0, (4, 4), norm="ortho", published=True), "norm='ortho': expected 'backward'"),
        (lambda: diffstride2d(random_map(1, 8, 8), 2.0, norm="forward", published=True), "norm='forward'"),
        (lambda: FixedSpectralPooling2d(2.0, norm="ortho", published=True), "norm='ortho'"),
        (lambda: DiffStride2d(published=1), "published=1: expected True or False"),  # type: ignore[arg-type]
        (lambda: DiffStride2d(symmetric=True, tied_to=DiffStride2d(published=True)), "symmetric=True"),
    ],
)
def test_what_is_not_published_is_refused(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_tied_ones_are_published_as_well() -> None:
    first = DiffStride2d(1.0, shared=True, published=True)
    second = DiffStride2d(tied_to=first)
    assert second.published
    x = random_map(1, 12, 32)
    (first(x).sum() + second(x).sum()).backward()  # the first pass has written, the second finds it as it is
    assert first.shared_alpha().tolist() == [1.5, 1.5]  # 12 / (12 - 4)


# --- in networks ------------------------------------------------------------------------------------------------------


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(("shared", "cropping"), [(False, False), (True, True), (False, True)])
def test_sizes_macs_freezing_and_checkpoints(shared: bool, cropping: bool, tmp_path: Path) -> None:
    pool = partial(DiffStride2d, shared=shared, cropping=cropping, published=True)
    model = dynpool.convert(network(), (3, 40, 21), pool=pool).eval()
    before = dynpool.sizes(model, (3, 40, 21))
    if not cropping:
        assert before == {"input": (40, 21), "1": (40, 20), "3": (40, 20)}
    seen: list[tuple[int, ...]] = []
    for i in (2, 4):
        model.get_submodule(str(i)).register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[-2:])))
    x = torch.randn(2, 3, 40, 21)
    y = model(x)
    assert seen == [before["1"], before["3"]]
    assert dynpool.sizes(model, (3, 40, 21)) == before
    by_hand = sum(h * w * 36 * c for (h, w), c in zip(before.values(), (3, 4, 4), strict=True))
    assert dynpool.count_macs(model, (3, 40, 21)).total == by_hand
    assert dynpool.GMACsLoss(model, (3, 40, 21))().item() == pytest.approx(by_hand / 1e9)
    frozen = dynpool.freeze(model)
    assert torch.equal(frozen(x), y)
    torch.testing.assert_close(torch.export.export(frozen, (x,)).module()(x), y)
    for one in (model, frozen):
        dynpool.save(one, tmp_path / "model.pt")
        again = dynpool.load(network(), tmp_path / "model.pt").eval()
        assert torch.equal(again(x), y)
    plain = dynpool.convert(network(), (3, 40, 21), pool=partial(DiffStride2d, shared=shared, cropping=cropping))
    with pytest.raises(RuntimeError, match="of another conversion"):
        plain.load_state_dict(model.state_dict())


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.floats(1, 60), st.floats(1, 60)),
    st.booleans(),
    st.sampled_from([1.5, 4.0, 8.0]),
)
def test_sizes_are_those_of_the_maps_and_can_be_set(
    size: tuple[int, int], strides: tuple[float, float], shared: bool, smoothness: float
) -> None:
    pool = DiffStride2d(shared=shared, smoothness=smoothness, published=True)
    rows, columns = torch.tensor(strides).tolist()  # as a layer holds them: a size can jump between 1.9 and its float32
    strides = (rows, rows) if shared else (rows, columns)
    out = pool.output_size(size, strides)
    x, one_or_two = torch.zeros(1, *size), strides[0] if shared else strides
    assert diffstride2d(x, one_or_two, smoothness=smoothness, published=True).shape[-2:] == out
    if not shared:
        found = pool.values_for(size, out)
        assert pool.output_size(size, found) == out
        assert all(map(math.isfinite, found))


# --- spectral pooling with fixed strides ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 8), (8, 1), (1, 1), (7, 9)])
def test_fixed_strides_turn_one_pixel_into_two(size: tuple[int, int]) -> None:
    """Rows [:h/2] and [n - h/2:] of the spectrum, which are the same row twice where there is one."""
    x, (h, w) = random_map(*size), (max(size[0] // 2 // 2 * 2, 2), max(size[1] // 2, 2))
    spectrum = waves(list(range(size[0])), size[0], -1) @ x.to(torch.complex128)
    spectrum = (spectrum @ waves(list(range(size[1] // 2 + 1)), size[1], -1).T)[:, : w // 2 + 1]
    spectrum = torch.cat([spectrum[: h // 2], spectrum[size[0] - h // 2 :]])
    lines = waves(list(range(h)), h, 1).T @ spectrum / h
    bins = spectrum.shape[1]
    twice = torch.tensor([1.0 if 2 * f % w == 0 else 2.0 for f in range(bins)], dtype=torch.float64)
    expected = ((lines * twice) @ waves(list(range(bins)), w, 1) / w).real
    y = FixedSpectralPooling2d(2.0, published=True)(x[None])[0]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert (FixedSpectralPooling2d(2.0)(x[None])[0].shape == y.shape) == (1 not in size)
    assert "published" in repr(FixedSpectralPooling2d(2.0, published=True))
    assert torch.autograd.gradcheck(FixedSpectralPooling2d(2.0, published=True), x[None].requires_grad_())
