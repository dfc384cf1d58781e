"""Converted networks of sequences and volumes: restated, counted, preserved, frozen, saved, compiled."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import video

import dynpool
from dynpool.conversion.coverage import cover
from dynpool.resolution import resolution_tree
from tests.networks import three_resizers
from tests.networks_of_axes import NETWORKS_1D, ResNet1d, UNet3d

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    **NETWORKS_1D,
    "unet": (UNet3d, (1, 8, 12, 16), 2),
    "unet interpolated": (lambda: UNet3d(transposed=False), (1, 8, 12, 16), 2),
}
every_network = pytest.mark.parametrize("name", list(NETWORKS))
plain = pytest.mark.parametrize("name", ["resnet", "unet"])  # what is slow, on one network of each number of axes


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name][0]().eval()


def images(name: str, *, more: int = 0, batch: int = 2) -> Tensor:
    channels, *extents = NETWORKS[name][1]
    return torch.randn(batch, channels, *(n + more for n in extents), generator=torch.Generator().manual_seed(1))


def at_other_sizes(model: nn.Module, seed: int = 0) -> dict[str, tuple[int, ...]]:
    """Set random sizes that the model can have, different along the axes; returns them."""
    draw, tree = random.Random(seed), resolution_tree(model)
    assert tree is not None
    wanted = {}
    for i, rule, _ in tree.learned:
        drawn = tuple(max(2, round(n * draw.uniform(0.7, 1.3))) for n in tree.nodes[i].reference)
        wanted[tree.nodes[i].name] = rule.admit(drawn)
    dynpool.set_sizes(model, wanted)
    return wanted


# ------------------------------------------------------------------------------------------ restated with one axis more


def with_one_axis_more(model: nn.Module) -> nn.Module:
    """The same network on maps that are constant along a new first axis, its windows one pixel long there."""
    lifted = copy.deepcopy(model)
    for name, layer in list(lifted.named_modules()):
        kind = type(layer).__name__
        axes = int(kind[-2]) if kind[-2:] in ("1d", "2d") else 0
        if not axes or not type(layer).__module__.startswith("torch.nn."):
            continue
        more: Any = getattr(nn, f"{kind[:-2]}{axes + 1}d")

        def longer(value: Any, first: int, axes: int = axes) -> tuple[int, ...]:
            return (first, *(value if isinstance(value, tuple) else (value,) * axes))

        new: Any
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            how = (longer(layer.kernel_size, 1), longer(layer.stride, 1), longer(layer.padding, 0))
            new = more(layer.in_channels, layer.out_channels, *how, bias=layer.bias is not None)
            new.weight = nn.Parameter(layer.weight.detach().unsqueeze(2))
            new.register_parameter("bias", layer.bias)
        elif "AdaptiveAvgPool" in kind:
            new = more(1)
        elif "Pool" in kind:
            new = more(longer(layer.kernel_size, 1), longer(layer.stride, 1), longer(layer.padding, 0))
        else:
            new = more(layer.num_features)
            new.load_state_dict(layer.state_dict())
        lifted.set_submodule(name, new)
    return lifted.eval()


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize(("make", "size"), [(ResNet1d, (2, 96)), (three_resizers, (3, 20, 28))], ids=["1", "2"])
def test_a_network_equals_the_same_along_one_axis_more_on_maps_constant_there(make, size, order) -> None:
    """One axis against two, and two against three: outputs, and gradients to weights and alphas, at other sizes."""
    torch.manual_seed(0)
    model = make().eval()
    lifted = dynpool.convert(with_one_axis_more(model), (size[0], 4, *size[1:]), order=order)
    model = dynpool.convert(model, size, order=order)
    assert dynpool.sizes(lifted, (size[0], 4, *size[1:])) == {
        name: (4, *n) for name, n in dynpool.sizes(model, size).items()
    }
    dynpool.set_sizes(lifted, {name: (4, *n) for name, n in at_other_sizes(model).items()})
    model, lifted = model.double(), lifted.double()
    x = torch.randn(2, *size, dtype=torch.float64)
    y, other = model(x), lifted(x.unsqueeze(2).expand(-1, -1, 4, *[-1] * (len(size) - 1)))
    torch.testing.assert_close(other, y)
    dy = torch.randn_like(y)
    y.backward(dy)
    other.backward(dy)
    own, others = dict(model.named_parameters()), dict(lifted.named_parameters())
    assert own.keys() == others.keys()
    for name, parameter in own.items():
        found, expected = others[name].grad, parameter.grad
        assert found is not None
        assert expected is not None
        assert expected.abs().max() > 0
        if name.endswith("alpha"):
            assert found.shape == (len(size),)
            found = found[1:]
        torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-12)


# -------------------------------------------------------------------------------------------- at the designed sizes


@every_network
def test_the_layers_are_learned_and_begin_at_the_designed_sizes(name: str) -> None:
    model, size = network(name), NETWORKS[name][1]
    learned = dynpool.convert(model, size)
    assert len(dynpool.resolutions(learned)) == NETWORKS[name][2]
    designed = dynpool.sizes(model, size)
    assert dynpool.sizes(learned, size).items() <= designed.items()
    for found in dynpool.resolutions(learned).values():
        assert found.size is not None
        assert found.alpha.shape == (len(found.size),) == (len(size) - 1,)
    before, after = dynpool.conversion_report(learned).macs
    assert after >= before == dynpool.count_macs(model, size).total


@every_network
@pytest.mark.parametrize("order", ["after", "before"])
def test_preserve_keeps_the_function(name: str, order: Any) -> None:
    model = network(name)
    learned = dynpool.convert(model, NETWORKS[name][1], preserve=True, order=order)
    x = images(name)
    torch.testing.assert_close(learned(x), model(x), rtol=1e-5, atol=1e-6)
    frozen = dynpool.freeze(learned)
    torch.testing.assert_close(frozen(x), model(x), rtol=1e-5, atol=1e-6)
    rows = dynpool.freeze_report(frozen).rows
    assert any(row.strided for row in rows) or order == "before" or name not in ("resnet", "m5")


# ----------------------------------------------------------------------------------------------------------- the cost


@every_network
def test_macs_are_those_that_pytorch_counts_at_any_sizes(name: str) -> None:
    """But for attention and for the projections of its inputs, which PyTorch's counter does not see on a CPU."""
    size = NETWORKS[name][1]
    model = dynpool.convert(network(name), size)
    loss = dynpool.GMACsLoss(model, size)
    for seed in range(3):
        at_other_sizes(model, seed)
        with FlopCounterMode(display=False) as counter:
            model.train(name == "wav2vec")(images(name, batch=1))
        flops = counter.get_flop_counts()["Global"]
        counted = {op: n for op, n in flops.items() if "attention" not in str(op)}
        report = dynpool.count_macs(model, size)
        own = sum(n for op, n in report.by_operator.items() if "attention" not in op)
        if name != "wav2vec":
            assert 2 * own == sum(counted.values())
        assert loss().item() == pytest.approx(report.gmacs, rel=1e-6)


@pytest.mark.parametrize(("make", "size"), [(ResNet1d, (2, 8192)), (UNet3d, (1, 32, 64, 128))], ids=["1", "3"])
def test_the_gradient_of_gmacs_is_a_difference_of_counts(make: Any, size: Any) -> None:
    """MACs are linear in a size, so at sizes that need no rounding d MACs / d size is a difference of counts.

    With size = above / alpha, d size / d alpha = -size^2 / above.
    """
    with torch.device("meta"):
        model = make()
    model = dynpool.convert(model.to_empty(device="cpu"), size)
    loss = dynpool.GMACsLoss(model, size)
    loss().backward()
    tree = resolution_tree(model)
    assert tree is not None
    values = [resizer.strides(tuple(resizer.shared_alpha().tolist())) for resizer in tree.owners]
    for k, (i, _, resizer) in enumerate(tree.learned):
        above = tree.nodes[tree.nodes[i].parent or 0].reference
        grad = resizer.shared_alpha().grad
        assert grad is not None
        for axis, n in enumerate(tree.nodes[i].reference):
            step = max(n // 16, 2)  # so that later sizes, which are halves, are whole too
            gmacs = []
            for moved in (n + step, n - step):
                alphas = list(values)
                alphas[k] = tuple(above[a] / moved if a == axis else v for a, v in enumerate(values[k]))
                gmacs.append(loss.value(alphas))
            slope = (gmacs[0] - gmacs[1]) / (2 * step)
            assert grad[axis].item() == pytest.approx(-slope * n**2 / above[axis], rel=1e-5)


@plain
def test_a_ceiling_holds_along_all_axes(name: str) -> None:
    size = NETWORKS[name][1]
    start = dynpool.count_macs(dynpool.convert(network(name), size), size).gmacs
    model = dynpool.convert(network(name), size, max_gmacs=1.3 * start)
    with torch.no_grad():
        for found in dynpool.resolutions(model).values():
            found.alpha.mul_(0.7)
    dynpool.constrain(model)
    assert start < dynpool.count_macs(model, size).gmacs <= 1.3 * start


# -------------------------------------------------------------------------------------- frozen, saved, compiled, parts


@every_network
def test_a_frozen_model_computes_the_same_at_any_input_size(name: str) -> None:
    model = dynpool.convert(network(name), NETWORKS[name][1])
    wanted = at_other_sizes(model)
    frozen = dynpool.freeze(model)
    assert dynpool.sizes(frozen, NETWORKS[name][1]).items() >= wanted.items()
    assert str(dynpool.freeze_report(frozen)).startswith("resolution")
    for more in (0, 8):
        x = images(name, more=more)
        torch.testing.assert_close(frozen(x), model(x), rtol=1e-4, atol=1e-4)
    x = images(name)
    torch.testing.assert_close(torch.export.export(frozen, (x,)).module()(x), model(x), rtol=1e-4, atol=1e-4)


class Around1d(nn.Sequential):
    """Pools that preserve=True resamples, and ways up that follow."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(2, 4, 3, 2, 1), nn.AvgPool1d(3, 2, 1), nn.MaxPool1d(3, 2, 1),
            nn.Upsample(scale_factor=1.5, mode="linear"), nn.ConvTranspose1d(4, 2, 4, 2, 1),
        )  # fmt: skip


class Around3d(nn.Sequential):
    """The same of volumes."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(1, 4, 3, 2, 1), nn.AvgPool3d(3, 2, 1, count_include_pad=False), nn.MaxPool3d(3, 2, 1),
            nn.Upsample(scale_factor=1.5, mode="trilinear"), nn.ConvTranspose3d(4, 2, 4, 2, 1),
        )  # fmt: skip


@pytest.mark.parametrize(("make", "size"), [(ResNet1d, (2, 96)), (Around1d, (2, 64)), (Around3d, (1, 16, 24, 24))])
@pytest.mark.parametrize("preserve", [False, True])
def test_a_frozen_model_is_scripted(make: Any, size: tuple[int, ...], preserve: bool) -> None:
    torch.manual_seed(0)
    model = dynpool.convert(make().eval(), size, preserve=preserve)
    if not preserve:
        at_other_sizes(model)
    frozen, x = dynpool.freeze(model), torch.randn(2, *size)
    torch.testing.assert_close(frozen(x), model(x))
    torch.testing.assert_close(torch.jit.script(frozen)(x), model(x))


@plain
def test_it_thaws_and_loads(name: str, tmp_path: Path) -> None:
    model = dynpool.convert(network(name), NETWORKS[name][1], order="before")
    wanted, x = at_other_sizes(model), images(name)
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"model{suffix}"
        for one in (model, dynpool.freeze(model)):
            dynpool.save(one, path)
            again = dynpool.load(network(name), path)
            torch.testing.assert_close(again(x), model(x), rtol=1e-5, atol=1e-5)
            assert dynpool.sizes(again, NETWORKS[name][1]).items() >= wanted.items()
    frozen = dynpool.freeze(model)
    live = dynpool.conversion.thawed(frozen)
    torch.testing.assert_close(live(x), model(x), rtol=1e-5, atol=1e-5)
    assert {n: r.size for n, r in dynpool.resolutions(live).items()} == wanted
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    torch.testing.assert_close(torch.load(file, weights_only=False)(x), model(x))


class Whole(nn.Module):
    """A network whose forward is the user's own, not that of a container of PyTorch's, which is not compiled whole."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


@plain
def test_one_compiled_graph_serves_all_sizes(name: str) -> None:
    torch._dynamo.reset()
    model, x = dynpool.convert(Whole(network(name)), NETWORKS[name][1]), images(name)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter)
    for seed in range(3):
        at_other_sizes(model, seed)
        torch.testing.assert_close(compiled(x), model(x))
    assert counter.frame_count == 1


@plain
def test_it_trains_and_parts_of_it_are_recomputed(name: str) -> None:
    model, x = dynpool.convert(network(name), NETWORKS[name][1]).train(), images(name)
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, lr=1e-3, alpha_lr=1.0, weight_decay=0.0))
    before = dynpool.sizes(model, NETWORKS[name][1])
    for _ in range(3):
        optimizer.zero_grad()
        y = model(x)
        (y.square().mean() + 1e5 * dynpool.GMACsLoss(model, NETWORKS[name][1])()).backward()
        optimizer.step()
        dynpool.constrain(model)
    after = dynpool.sizes(model, NETWORKS[name][1])
    for key in dynpool.resolutions(model):
        assert all(n < m or n == 2 for n, m in zip(after[key], before[key], strict=True))
    if name == "resnet":  # a sequence of layers, of which some run again during backward
        model.zero_grad()
        y = model(x)
        y.sum().backward()
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.eval()(x)
        model.train().zero_grad()
        layers = list(model.children())
        head, tail = nn.Sequential(*layers[:4]), nn.Sequential(*layers[4:])
        checkpoint(tail, checkpoint(head, x, use_reentrant=False), use_reentrant=False).sum().backward()
        again = [p.grad for p in model.parameters() if p.grad is not None]
        torch.testing.assert_close(again, grads)


# ----------------------------------------------------------------------------------------------- torchvision's networks


@pytest.mark.parametrize(
    ("name", "counts"), [("r3d_18", (4, 3, 0)), ("mc3_18", (4, 3, 0)), ("r2plus1d_18", (7, 0, 3)), ("s3d", (6, 0, 0))]
)
def test_every_resizer_of_torchvisions_video_networks_is_learned(name: str, counts: tuple[int, ...]) -> None:
    size = (3, 16, 224, 224) if name == "s3d" else (3, 16, 112, 112)
    with torch.device("meta"):
        model = getattr(video, name)()
    row = cover(name, model, size)
    assert (row.status, row.message) == ("runs", "")
    assert (row.converted, row.tied, row.follows) == counts
    assert (row.pinned, row.left_alone) == (0, 0)
    if name != "s3d":
        learned = dynpool.convert(model, size)
        assert dynpool.sizes(learned, size) == dynpool.sizes(model, size)
        assert all(type(pool) is dynpool.DynOPool3d for pool in dynpool.resizers.learned_resizers(learned).values())


# ---------------------------------------------------------------------------------------------- a resizer of one's own


class Average(dynpool.LearnedResizer[tuple[float]]):
    """Adaptive average pooling of sequences."""

    axes = 1

    def __init__(self, strides=2.0, *, reduce="mean", bounds=(1 / 8, 2.0), tied_to=None) -> None:
        super().__init__(strides, bounds=bounds, tied_to=tied_to)

    def output_size(self, size: tuple[float], strides: tuple[float]) -> tuple[int]:
        return (max(round(size[0] / strides[0]), 1),)

    def forward(self, x: Tensor, size: Any = None) -> Tensor:
        return nn.functional.adaptive_avg_pool1d(x, self.own_size(x) if size is None else size)

    def footprint(self, size_in: int, size_out: int, axis: int) -> tuple[float, float]:
        return (-(-size_in // size_out),) * 2

    def frozen(self, size: Any) -> nn.Module:
        return nn.AdaptiveAvgPool1d(size)


def test_resizers_of_ones_own_are_put_in_networks_of_sequences() -> None:
    model = dynpool.convert(network("resnet"), (2, 96), pool=Average)
    dynpool.set_sizes(model, {"0": (40,), "3": (21,)})
    assert dynpool.sizes(model, (2, 96)) == {"input": (96,), "0": (40,), "3": (21,), "5.conv1": (10,)}
    frozen, x = dynpool.freeze(model), images("resnet")
    torch.testing.assert_close(frozen(x), model(x))
    assert dynpool.GMACsLoss(model, (2, 96))().item() == pytest.approx(dynpool.count_macs(frozen, (2, 96)).gmacs)
    assert Average(2.0)(torch.zeros(1, 2, 9)).shape == (1, 2, 4)
