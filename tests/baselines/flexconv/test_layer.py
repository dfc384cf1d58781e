"""FlexConv2d against its formulas in float64, its crop, its two evaluations, and what the library does with it."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

import dynpool
from dynpool.analysis import receptive_field
from dynpool.baselines.flexconv import FlexConv2d
from dynpool.baselines.flexconv.layer import Evaluation
from dynpool.resizers import constrain_kernels

from .test_magnet import slow_magnet

SETTINGS = {"largest": 9, "hidden": 4, "filters": 2, "scale": 6.0}


def small(in_channels: int = 2, out_channels: int = 3, kernel_size: int = 3, /, **kwargs: object) -> FlexConv2d:
    """A layer in float64 with a mask off the centre and all biases in use."""
    torch.manual_seed(0)
    layer = FlexConv2d(in_channels, out_channels, kernel_size, **{**SETTINGS, "sigma": 0.3, **kwargs}).double()  # type: ignore[arg-type]
    with torch.no_grad():
        layer.mu.copy_(torch.tensor([0.05, -0.12]))
        for name, parameter in layer.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return layer


def slow_kernel(layer: FlexConv2d, radius: tuple[int, int]) -> Tensor:
    """The masked kernel (C_out, C_in / groups, 2 radius + 1, ...), point by point with Python's floats."""
    (my, mx), (sy, sx) = layer.mu.tolist(), layer.sigma.tolist()
    half = [n // 2 for n in layer.largest]
    kernel = torch.empty(layer.out_channels * layer.in_channels // layer.groups, *(2 * r + 1 for r in radius))
    for i in range(-radius[0], radius[0] + 1):
        for j in range(-radius[1], radius[1] + 1):
            y, x = i / half[0], j / half[1]
            mask = math.exp(-((y - my) ** 2) / (2 * sy**2) - (x - mx) ** 2 / (2 * sx**2))
            values = torch.tensor(slow_magnet(layer.network, y, x), dtype=torch.float64)
            kernel[:, i + radius[0], j + radius[1]] = mask * values
    return kernel.unflatten(0, (layer.out_channels, -1))


def slow_convolution(x: Tensor, kernel: Tensor, bias: Tensor, stride: int, groups: int) -> Tensor:
    """The sum over kernel and channels around every stride-th pixel, with zeros outside of the map."""
    n, _, height, width = x.shape
    c_out, per_group, k_h, k_w = kernel.shape
    y = bias[None, :, None, None].repeat(n, 1, -(-height // stride), -(-width // stride))
    for o in range(c_out):
        first = o // (c_out // groups) * per_group
        for i, j in ((i, j) for i in range(y.shape[2]) for j in range(y.shape[3])):
            for a, b in ((a, b) for a in range(k_h) for b in range(k_w)):
                row, column = i * stride + a - k_h // 2, j * stride + b - k_w // 2
                if 0 <= row < height and 0 <= column < width:
                    y[:, o, i, j] += (x[:, first : first + per_group, row, column] * kernel[o, :, a, b]).sum(1)
    return y


@pytest.fixture(autouse=True)
def _float64() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --- the formulas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluation", ["spatial", "fft"])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 2), (3, 4)])
@torch.no_grad()
def test_the_whole_layer_is_that_of_the_formulas(evaluation: str, stride: int, groups: int) -> None:
    layer = small(4, 4, padding=1, stride=stride, groups=groups, evaluation=evaluation, sigma=(0.2, 0.3))
    x = torch.randn(2, 4, 6, 5)
    height, width = layer.extent
    kernel = slow_kernel(layer, (height // 2, width // 2))
    assert layer.bias is not None
    torch.testing.assert_close(layer.weight, kernel, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        layer(x), slow_convolution(x, kernel, layer.bias, stride, groups), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("evaluation", ["spatial", "fft"])
def test_gradients_reach_every_parameter(evaluation: str) -> None:
    layer = small(2, 2, padding=1, evaluation=evaluation, hidden=2, largest=7, sigma=0.25)
    assert layer.extent == (3, 3)
    x = torch.randn(1, 2, 4, 3)
    names = [name for name, _ in layer.named_parameters()]
    assert {"mu", "sigma", "bias"} < set(names)

    def output(x: Tensor, *parameters: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)
        return y

    assert torch.autograd.gradcheck(output, (x.requires_grad_(), *layer.parameters()))


@torch.no_grad()
def test_only_what_the_mask_suppresses_is_cropped() -> None:
    layer = small(2, 3, padding=1, largest=15)
    whole = slow_kernel(layer, (7, 7))
    height, width = layer.extent
    assert (height, width) == (9, 11)
    top, left = 7 - height // 2, 7 - width // 2
    torch.testing.assert_close(layer.weight, whole[:, :, top : 15 - top, left : 15 - left])
    rows = torch.arange(-7, 8) / 7
    masks = [torch.exp(-0.5 * ((rows - m) / s) ** 2) for m, s in zip(layer.mu, layer.sigma, strict=True)]
    for mask, cut in zip(masks, (top, left), strict=True):
        assert max(mask[:cut].max(), mask[15 - cut :].max()) < 0.1
        assert max(mask[cut], mask[14 - cut]) >= 0.1


@torch.no_grad()
def test_a_kernel_of_another_extent_is_cut_or_padded_with_zeros() -> None:
    layer = small(largest=15)
    height, width = layer.extent
    live = layer.weight
    torch.testing.assert_close(layer.kernel((height + 4, width + 2)), F.pad(live, (1, 1, 2, 2)))
    torch.testing.assert_close(layer.kernel((height - 2, width)), live[:, :, 1:-1])


@torch.no_grad()
def test_the_output_keeps_its_size_and_place_while_the_kernel_grows() -> None:
    x = torch.randn(1, 2, 11, 12)
    for kernel_size, padding, stride in ((3, 1, 1), (3, 1, 2), (7, 3, 2), (5, 0, 1), (1, 0, 1)):
        layer = small(2, 3, kernel_size, padding=padding, stride=stride, bias=False, largest=15)
        plain = nn.Conv2d(2, 3, kernel_size, padding=padding, stride=stride, bias=False)
        for sigma in (0.08, 0.2, 0.5, 4.0):
            layer.sigma.fill_(sigma)
            y = layer(x)
            assert y.shape == plain(x).shape
            half = layer.extent[0] // 2, layer.extent[1] // 2
            offset = kernel_size // 2 - padding
            whole = F.conv2d(x, layer.weight, padding=half)
            torch.testing.assert_close(y, whole[:, :, offset::stride, offset::stride][:, :, : y.shape[2], : y.shape[3]])


def test_evaluations_agree_in_float32() -> None:
    torch.set_default_dtype(torch.float32)
    layer = FlexConv2d(8, 8, 3, padding=1, largest=29, sigma=0.6)
    x = torch.randn(4, 8, 28, 28)
    assert layer.extent == (29, 29)
    outputs = {}
    for evaluation in ("spatial", "fft"):
        layer.evaluation = evaluation
        outputs[evaluation] = layer(x)
    torch.testing.assert_close(outputs["fft"], outputs["spatial"], rtol=1e-5, atol=1e-5)


def test_kernels_keep_their_digits_under_autocast_and_in_half_precision() -> None:
    torch.set_default_dtype(torch.float32)
    layer = FlexConv2d(2, 3, 3, padding=1, largest=33, sigma=0.5)
    expected = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, expected)
        assert torch.isfinite(layer(torch.randn(1, 2, 32, 32))).all()
    half = copy.deepcopy(layer).bfloat16()
    wide = copy.deepcopy(half).float()  # of the rounded parameters
    assert half.weight.dtype == torch.bfloat16
    assert half.sigma.dtype == torch.float32
    scale = wide.weight.abs().max()
    assert (half.weight.float() - wide.weight).abs().max() < 0.03 * scale  # rounding of the sums alone
    assert half(torch.randn(1, 2, 32, 32).bfloat16()).dtype == torch.bfloat16


def test_auto_chooses_by_size() -> None:
    layer = FlexConv2d(8, 8, 3, padding=1, largest=29, sigma=0.6)
    x = torch.randn(4, 8, 28, 28)
    weight = layer.weight
    assert layer.uses_fft(x, weight)
    assert not layer.uses_fft(x, weight[:, :, :3, :3])
    assert not layer.uses_fft(x.to("meta"), weight)
    layer.evaluation = "spatial"
    assert not layer.uses_fft(x, weight)


# --- initial values, bounds, state -----------------------------------------------------------------------------------


def test_outputs_start_with_the_variance_of_a_new_convolution() -> None:
    for seed, groups in ((0, 1), (1, 16)):
        torch.manual_seed(seed)
        layer = FlexConv2d(16, 16, 3, padding=1, largest=17, sigma=0.2, groups=groups, bias=False)
        squares = layer.weight.square().sum((1, 2, 3))
        torch.testing.assert_close(squares.mean().item(), 1 / 3)
        plain = nn.Conv2d(16, 16, 3, groups=groups, bias=False).weight.square().sum((1, 2, 3))
        torch.testing.assert_close(squares.mean().item(), plain.mean().item(), rtol=0.2, atol=0)


def test_what_is_out_of_bounds_is_brought_back() -> None:
    layer = FlexConv2d(1, 1, largest=33, sigma=0.2)
    with torch.no_grad():
        layer.sigma.copy_(torch.tensor([-0.3, math.nan]))
        layer.mu.copy_(torch.tensor([7.0, -math.inf]))
    dynpool.constrain(layer)
    low = 2 / (32 * math.sqrt(-2 * math.log(0.1)))
    torch.testing.assert_close(layer.sigma.tolist(), [low, 0.2], rtol=1e-6, atol=0)
    assert layer.mu.tolist() == [1.0, 0.0]
    assert layer.extent == (33, 2 * math.floor(0.2 * math.sqrt(-2 * math.log(0.1)) * 16) + 1)
    assert not constrain_kernels([layer])


def test_a_broken_mask_is_an_error() -> None:
    layer = FlexConv2d(1, 1, padding=1)
    for value in (0.0, math.inf, math.nan, -1.0):
        with torch.no_grad():
            layer.sigma[1] = value
        with pytest.raises(ValueError, match=r"sigma=.*of a FlexConv2d.*dynpool.constrain"):
            layer(torch.zeros(1, 1, 8, 8))


def test_state_is_restored() -> None:
    layer, other = small(largest=15), small(largest=15, sigma=0.2)
    x = torch.randn(1, 2, 8, 8)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x), layer(x))
    copied = copy.deepcopy(layer)
    torch.testing.assert_close(copied(x), layer(x))
    with torch.no_grad():
        copied.sigma.mul_(2)
    assert copied.extent != layer.extent


def test_learned_extent_is_the_extent_without_rounding() -> None:
    layer = FlexConv2d(1, 1, largest=(33, 17), sigma=(0.1, 0.3))
    with torch.no_grad():
        layer.mu.copy_(torch.tensor([-0.1, 0.2]))
    smooth = layer.learned_extent()
    for k, s in zip(layer.extent, smooth.tolist(), strict=True):
        assert k - 1 <= s < k + 1
    smooth.sum().backward()
    assert layer.sigma.grad is not None
    torch.testing.assert_close(layer.sigma.grad, math.sqrt(2 * math.log(10)) * torch.tensor([32.0, 16.0]))
    assert layer.mu.grad is not None
    assert layer.mu.grad.tolist() == [-32.0, 16.0]


@pytest.mark.parametrize("largest", [(3, 5), (33, 17)])
def test_the_extent_of_compiled_graphs_is_that_of_the_host(largest: tuple[int, int]) -> None:
    layer = FlexConv2d(1, 1, largest=largest).float()
    for sigma in torch.linspace(0.03, 4.0, 200).tolist():
        with torch.no_grad():
            layer.sigma.fill_(sigma)
            layer.mu.uniform_(-0.3, 0.3)
        assert tuple(layer.rounded_extent().tolist()) == layer.extent


@torch._dynamo.config.patch(capture_scalar_outputs=True)
def test_one_compiled_graph_serves_all_kernels() -> None:
    torch.set_default_dtype(torch.float32)
    graphs = CompileCounterWithBackend("aot_eager")
    layer = FlexConv2d(2, 3, 3, padding=1, largest=17, sigma=0.15)
    compiled = torch.compile(layer, backend=graphs, fullgraph=True)
    x = torch.randn(2, 2, 12, 12)
    for sigma in (0.15, 0.3, 0.7):
        with torch.no_grad():
            layer.sigma.fill_(sigma)
        found, expected = compiled(x), layer(x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        parameters = list(layer.parameters())
        gradients = (torch.autograd.grad(y.square().sum(), parameters) for y in (found, expected))
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)
    assert graphs.frame_count == 1


def test_mask_and_network_are_in_separate_optimiser_groups() -> None:
    groups = {group["name"]: group for group in dynpool.parameter_groups(nn.Sequential(FlexConv2d(1, 1)))}
    assert len(groups["kernels"]["params"]) == 2
    assert groups["kernels"]["weight_decay"] == 0
    assert len(groups["weights"]["params"]) == 1 + 4 * 4 + 3 * 2 + 2  # bias; filters, mixers, output


# --- what the library reads from it ----------------------------------------------------------------------------------


def network(sigma: float = 0.3, evaluation: Evaluation = "auto") -> nn.Sequential:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        FlexConv2d(4, 6, 3, padding=1, largest=17, sigma=sigma, evaluation=evaluation),
        nn.ReLU(),
        FlexConv2d(6, 6, 3, 2, padding=1, largest=17, sigma=(0.2, 0.4), groups=6, evaluation=evaluation),
        nn.AdaptiveAvgPool2d(1),
    )


@pytest.mark.parametrize("evaluation", ["auto", "spatial", "fft"])
def test_macs_and_receptive_fields_are_those_of_the_live_kernels(evaluation: Evaluation) -> None:
    model = network(evaluation=evaluation)
    first, second = model[1].extent, model[3].extent
    assert first == (11, 11)
    assert second == (7, 13)
    macs = dynpool.count_macs(model, (3, 16, 16))
    assert macs.total == 256 * 4 * 3 * 9 + 256 * 6 * 4 * 121 + 64 * 6 * 7 * 13
    report = receptive_field(model, (3, 16, 16))
    assert [row.kernel for row in report.layers] == [(3, 3), first, second]
    assert [row.r_min for row in report.layers] == [(3, 3), (13, 13), (19, 25)]


def test_frozen_layers_compute_the_same() -> None:
    model = network()
    for layer in (model[1], model[3]):
        assert isinstance(layer, FlexConv2d)
        plain = layer.frozen()
        assert type(plain) is nn.Conv2d
        assert plain.kernel_size == layer.extent
        x = torch.randn(2, layer.in_channels, 16, 16)
        layer.evaluation = "spatial"
        assert torch.equal(plain(x), layer(x))


def test_published_masks_have_no_bounds() -> None:
    layer, bounded = small(published=True), small()
    for one in (layer, bounded):
        with torch.no_grad():
            one.mu.copy_(torch.tensor([1.5, 0.0]))
            one.sigma.copy_(torch.tensor([-0.3, 0.01]))
        constrain_kernels([one])
    assert layer.mu.tolist() == [1.5, 0.0]
    assert layer.sigma.tolist() == pytest.approx([0.3, 0.01])
    assert layer.extent == (9, 1), "one point, where sigma has no gradient"
    assert bounded.mu.tolist() == [1.0, 0.0]
    assert bounded.extent == (9, 3)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("sigma", 0.0, ValueError),
        ("sigma", math.inf, ValueError),
        ("largest", 8, ValueError),
        ("largest", 1, ValueError),
        ("largest", (9, 8), ValueError),
        ("largest", 9.0, TypeError),
        ("largest", True, TypeError),
        ("threshold", 0.0, ValueError),
        ("threshold", 1.0, ValueError),
        ("scale", -1.0, ValueError),
        ("scale", math.inf, ValueError),
        ("hidden", 0, ValueError),
        ("filters", 0, ValueError),
        ("evaluation", "fast", ValueError),
        ("dilation", 2, ValueError),
        ("kernel_size", 4, ValueError),
    ],
)
def test_bad_arguments_are_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{name}="):
        FlexConv2d(2, 2, **{name: value})  # type: ignore[arg-type]
