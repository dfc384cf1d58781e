"""Random networks of all supported operations, wired at random, against gradients and against enumerated paths."""

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from dynpool.analysis import receptive_field
from tests.analysis.fields.oracle import image, layer_outputs, positive, region

CHANNELS = 4
SIZE = (24, 20)
LIMIT = 48  # pixels

Make = Callable[[], Callable[[Tensor], Tensor]]


def conv(**options: int | tuple[int, int]) -> Make:
    kernel = options.pop("k", 3)
    return lambda: nn.Conv2d(CHANNELS, CHANNELS, kernel, bias=False, **options)  # type: ignore[arg-type]


class Circular(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (2, 1, 1, 2), mode="circular")


class Windows(nn.Module):
    """Attention in windows of a quarter of the map, after a roll."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.roll((1, 2), (2, 3)).reshape(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 3, 5, 1)
        tokens = x.reshape(n * 4, h * w // 4, c)
        tokens = (tokens @ tokens.transpose(1, 2)).softmax(dim=-1) @ tokens
        x = tokens.reshape(n, 2, 2, h // 2, w // 2, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(n, c, h, w)


class Gate(nn.Module):
    """Squeeze-and-excitation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


class Unfolded(nn.Module):
    """Patches of 3x3 in steps of 2, scaled, and folded back."""

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 3, dilation=2, padding=2, stride=2)
        return F.fold(patches * 2, x.shape[-2:], 3, dilation=2, padding=2, stride=2)


class Sliced(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 2:, ::2, 1::2], x[:, :2, 1::2, ::2]], 1)


class Halves(nn.Module):
    """Half of the channels are pooled."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([a, F.avg_pool2d(b, 3, 1, 1)], 1)


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3)


class Call(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


class Attention(nn.Module):
    """Every position attends to all positions of its row."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        return F.scaled_dot_product_attention(rows, rows, rows).permute(0, 3, 1, 2)


def call(function: Callable[[Tensor], Tensor]) -> Make:
    return lambda: Call(function)


def even(x: Tensor) -> bool:
    return x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0


# every kind of operation: what makes it, and on which maps it runs
OPERATIONS: dict[str, tuple[Make, Callable[[Tensor], bool]]] = {
    "conv": (conv(k=3, padding=1), lambda x: True),
    "conv_even": (conv(k=2), lambda x: True),
    "conv_strided": (conv(k=3, stride=2, padding=1), lambda x: True),
    "conv_shortcut": (conv(k=1, stride=2), lambda x: True),
    "conv_dilated": (conv(k=3, dilation=2, padding=1), lambda x: min(x.shape[2:]) > 3),
    "conv_flat": (conv(k=(1, 5), padding=(0, 3), stride=(1, 3)), lambda x: True),
    "conv_depthwise": (conv(k=3, groups=CHANNELS), lambda x: True),
    "conv_grouped": (conv(k=3, groups=2, padding=2), lambda x: True),
    "conv_reflect": (lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, padding_mode="reflect"), lambda x: True),
    "conv_circular": (lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, padding_mode="circular"), lambda x: True),
    "transposed": (lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, 2, 1, 1), lambda x: max(x.shape[2:]) <= 16),
    "transposed_wide": (lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 4, 3, 2), lambda x: max(x.shape[2:]) <= 12),
    "max_pool": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), lambda x: True),
    "max_pool_dilated": (lambda: nn.MaxPool2d(2, 1, dilation=3), lambda x: True),
    "avg_pool": (lambda: nn.AvgPool2d((2, 3)), lambda x: True),
    "lp_pool": (lambda: nn.LPPool2d(1, 2), lambda x: True),
    "adaptive_pool": (lambda: nn.AdaptiveAvgPool2d((5, 7)), lambda x: True),
    "nearest": (lambda: nn.Upsample(scale_factor=2), lambda x: max(x.shape[2:]) <= 20),
    "nearest_odd": (call(lambda x: F.interpolate(x, (13, 9))), lambda x: True),
    "bilinear": (call(lambda x: F.interpolate(x, (15, 17), mode="bilinear")), lambda x: True),
    "bilinear_corners": (
        call(lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=True)),
        lambda x: max(x.shape[2:]) <= 20,
    ),
    "dynopool": (lambda: dynpool.DynOPool2d((1.7, 2.2), reduce="mean"), lambda x: True),
    "dynopool_sample": (lambda: dynpool.DynOPool2d((1.3, 0.8), reduce="sample"), lambda x: max(x.shape[2:]) <= 20),
    "shuffle_up": (lambda: nn.Sequential(nn.Conv2d(4, 16, 1), nn.PixelShuffle(2)), lambda x: max(x.shape[2:]) <= 20),
    "shuffle_down": (lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(16, 4, 1)), even),
    "there_and_back": (lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2)), even),
    "slices": (Sliced, even),
    "cropped": (call(lambda x: x[:, :, 1:-2, 3:]), lambda x: min(x.shape[2:]) > 6),
    "padded": (call(lambda x: F.pad(x, (2, -1, 0, 3))), lambda x: True),
    "replicated": (call(lambda x: F.pad(x, (2, 0, 1, 3), mode="replicate")), lambda x: True),
    "circular": (Circular, lambda x: True),
    "rolled": (call(lambda x: torch.roll(x, (3, -2), (2, 3))), lambda x: True),
    "flipped": (call(lambda x: x.flip(2)), lambda x: True),
    "channels_shuffled": (lambda: nn.ChannelShuffle(2), lambda x: True),
    "repeated": (call(lambda x: x.repeat_interleave(2, 3)), lambda x: x.shape[3] <= 20),
    "windows": (Windows, even),
    "gate": (Gate, lambda x: True),
    "unfolded": (Unfolded, lambda x: min(x.shape[2:]) > 3),
    "turned": (Turned, lambda x: True),
    "split": (call(lambda x: torch.cat([p * 2 for p in x.split(9, dim=2)], 2)), lambda x: True),
    "halves": (Halves, lambda x: True),
    "norm": (lambda: nn.GroupNorm(2, CHANNELS), lambda x: True),
    "cumulative": (call(lambda x: x.cumsum(3)), lambda x: True),
    "tiled": (call(lambda x: x.repeat(1, 1, 2, 1)), lambda x: x.shape[2] <= 16),
    "row_windows": (call(lambda x: x.unfold(2, 3, 2).mean(-1)), lambda x: x.shape[2] > 6),
    "stacked": (call(lambda x: torch.stack([x, x.roll(1, 2)], 2).mean(2)), lambda x: True),
    "columns_summed": (call(lambda x: (x @ x.new_ones(x.shape[3])).unsqueeze(3).repeat(1, 1, 1, 5)), lambda x: True),
    "attention": (Attention, lambda x: True),
    "antialiased": (call(lambda x: F.interpolate(x, (9, 8), mode="bilinear", antialias=True)), lambda x: True),
    "rows_in_pairs": (
        call(lambda x: x[:, :, torch.tensor([[0, 2], [3, 1], [4, 4], [1, 0]])].mean(3)),
        lambda x: x.shape[2] > 4,
    ),
}


class Network(nn.Module):
    """Operations in a row, each on the last map; then all maps of equal shape are added, and a convolution looks."""

    def __init__(self, names: Sequence[str], shortcuts: Sequence[bool]) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self.shortcuts: list[bool] = []
        self.last = nn.Conv2d(CHANNELS, 2, 1, bias=False)
        x = torch.ones(1, CHANNELS, *SIZE)
        for name, shortcut in zip(names, shortcuts, strict=True):
            make, runs = OPERATIONS[name]
            if min(x.shape[2:]) < 4 or not runs(x):
                continue
            module = make()
            self.steps.append(module)  # type: ignore[arg-type]
            self.shortcuts.append(shortcut)
            x = module(x)

    def forward(self, x: Tensor) -> Tensor:
        earlier = [x]
        for step, shortcut in zip(self.steps, self.shortcuts, strict=True):
            x = step(x)
            if shortcut:
                x = sum((e for e in earlier if e.shape == x.shape), x)
            earlier.append(x)
        return self.last(x)


def positions(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """The corners of a map, and places between."""
    return list(itertools.product(*[sorted({0, 1, n // 2, n - 1} & set(range(n))) for n in shape]))


def assert_sees_what_gradients_see(model: Network) -> None:
    report = receptive_field(model, (CHANNELS, *SIZE))
    assert report.not_understood == {}
    x = image((CHANNELS, *SIZE))
    out = layer_outputs(positive(model), x, ["last"])["last"]
    if "last" not in [row.name for row in report.layers]:  # behind a global operation nothing is a layer
        assert region(out, x, (0, 0)) == region(out, x, tuple(n - 1 for n in out.shape[2:]))
        return
    row = next(row for row in report.layers if row.name == "last")
    assert row.shape == tuple(out.shape)
    for at in positions(out.shape[2:]):
        assert report.seen("last", at) == region(out, x, at), at


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_sees_what_gradients_see(name: str) -> None:
    torch.manual_seed(0)
    assert_sees_what_gradients_see(Network(["conv", name, "conv_strided"], [False, False, True]))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.booleans()), min_size=2, max_size=7))
def test_random_networks_see_what_gradients_see(steps: list[tuple[str, bool]]) -> None:
    torch.manual_seed(0)
    names, shortcuts = zip(*steps, strict=True)
    assert_sees_what_gradients_see(Network(names, shortcuts))


# --- every path, one by one -------------------------------------------------------------------------------------------

Path = tuple[int, int, float]  # receptive field, stride, centre


class Wired(nn.Module):
    """Convolutions of kernel 1 to 5 and stride 1 or 2 in a row, with shortcuts between maps of one shape."""

    def __init__(self, kernels: Sequence[int], strides: Sequence[int], wires: Sequence[int]) -> None:
        super().__init__()
        layers = zip(kernels, strides, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv1d(2, 2, k, s, padding=k // 2, bias=False) for k, s in layers)
        self.wires = list(wires)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer, wire in zip(self.convolutions, self.wires, strict=True):
            x = layer(maps[-1])
            other = maps[wire % len(maps)]
            maps.append(x + other if other.shape == x.shape else x)
        return maps[-1]

    def paths(self, size: int) -> list[list[Path]]:
        """All paths to the input of each layer, by enumeration."""
        maps: list[tuple[int, list[Path]]] = [(size, [(1, 1, 0.0)])]
        found = []
        for layer, wire in zip(self.convolutions, self.wires, strict=True):
            n, before = maps[-1]
            found.append(before)
            assert isinstance(layer, nn.Conv1d)
            k, s = layer.kernel_size[0], layer.stride[0]
            here = [(r + (k - 1) * stride, stride * s, c) for r, stride, c in before]
            out = (n - 1) // s + 1
            same, other = maps[wire % len(maps)]
            maps.append((out, here + other if same == out else here))
        return found


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 1, 2]), st.integers(0, 9)), min_size=1, max_size=7
    )
)
def test_r_min_and_r_max_are_those_of_the_shortest_and_the_longest_of_all_paths(
    layers: list[tuple[int, int, int]],
) -> None:
    model = Wired(*zip(*layers, strict=True))
    report = receptive_field(model, (2, 999))
    for row, paths in zip(report.layers, model.paths(999), strict=True):
        assert row.r_min_in[0] == min(r for r, _, _ in paths)
        growth = [(r, r + (row.kernel[0] - 1) * s) for r, s, _ in paths]
        assert row.r_max[0] == max(after for _, after in growth)
        assert row.aligned == (len({(s, c) for _, s, c in paths}) == 1)
