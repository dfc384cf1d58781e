"""Converted models in daily use: checkpoints, copies, averaging, several processes, layouts, precisions, compilers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.distributed as dist
import torchvision
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import Tensor, nn
from torch._dynamo.exc import Unsupported
from torch._dynamo.testing import CompileCounterWithBackend
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import dynpool

SIZE = (3, 32, 32)


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def learned(**how: object) -> nn.Module:
    model = dynpool.convert(plain(), SIZE, **how)  # type: ignore[arg-type]
    dynpool.set_sizes(model, {"3": (9, 7)})
    return model


def alphas(model: nn.Module) -> dict[str, list[float]]:
    return {name: r.alpha.tolist() for name, r in dynpool.resolutions(model).items()}


def step(model: nn.Module, inner: nn.Module, seed: int, steps: int = 3) -> None:
    torch.manual_seed(seed)
    groups = dynpool.parameter_groups(inner, lr=0.05, alpha_lr=0.5)
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, *SIZE)).square().sum().backward()
        optimizer.step()
        dynpool.constrain(inner)


def test_checkpoints_load_across_the_conversion_strictly() -> None:
    model = learned().eval()
    before, old = alphas(model), plain().state_dict()
    old["7.bias"] = torch.arange(5.0)
    model.load_state_dict(old)  # one from before the conversion: the alphas stay
    assert alphas(model) == before
    assert torch.equal(model.get_parameter("7.bias"), torch.arange(5.0))
    assert set(model.state_dict()) - set(old) == {"0.resize.alpha", "3.alpha", "4.0.resize.alpha"}
    fresh = dynpool.convert(plain(), SIZE).eval()
    fresh.load_state_dict(model.state_dict())
    x = torch.randn(2, *SIZE)
    assert torch.equal(fresh(x), model(x))
    plain().load_state_dict(dynpool.freeze(model).state_dict())  # and the other way round
    partial = {key: value for key, value in model.state_dict().items() if key != "3.alpha"}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "3.alpha"'):
        fresh.load_state_dict(partial)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_are_whole_and_independent(how: str, tmp_path: Path) -> None:
    model = learned(preserve=True).eval()
    if how == "deepcopy":
        other = copy.deepcopy(model)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        torch.save(model, tmp_path / "model.pt")
        other = torch.load(tmp_path / "model.pt", weights_only=False)
    x = torch.randn(2, *SIZE)
    assert torch.equal(other(x), model(x))
    expected = model(x)
    dynpool.set_sizes(other, {"0": (11, 13)})
    step(other, other, seed=1)
    assert alphas(other) != alphas(model)
    assert torch.equal(model(x), expected)
    assert str(dynpool.conversion_report(other)) == str(dynpool.conversion_report(model))


@pytest.mark.parametrize("kind", [ModelEmaV2, ModelEmaV3])
def test_averaged_models_average_the_alphas(kind: type) -> None:
    model = learned()
    average = kind(model, decay=0.5)
    before = alphas(model)["3"]
    step(model, model, seed=0)
    average.update(model)
    after = alphas(model)["3"]
    assert before != after
    assert alphas(average.module)["3"] == pytest.approx([(a + b) / 2 for a, b in zip(before, after, strict=True)])
    x = torch.randn(2, *SIZE)
    average.module.eval()(x)
    assert alphas(model)["3"] == after


def _train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    inner = learned()
    model = DistributedDataParallel(inner)
    step(model, inner, seed=rank)  # other images in each process
    torch.save(alphas(inner), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_alphas_stay_equal_across_processes(tmp_path: Path) -> None:
    spawn(_train, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second
    assert first != alphas(learned())


def test_channels_last_goes_through() -> None:
    model = learned(preserve=True).eval().to(memory_format=torch.channels_last)
    x = torch.randn(2, *SIZE)
    seen: dict[str, Tensor] = {}
    model.get_submodule("4").register_forward_hook(lambda m, a, y: seen.update(y=y))
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), learned(preserve=True).eval()(x))
    assert seen["y"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("preserve", [False, True])
def test_alphas_stay_float32_in_models_of_other_precisions(dtype: torch.dtype, preserve: bool) -> None:
    model = learned(preserve=preserve).to(dtype).eval()
    x = torch.randn(2, *SIZE)
    out = model(x.to(dtype))
    assert out.dtype == dtype
    assert all(r.alpha.dtype == torch.float32 for r in dynpool.resolutions(model).values())
    torch.testing.assert_close(out.float(), learned(preserve=preserve).eval()(x), rtol=0.1, atol=0.05)
    out.square().sum().backward()
    assert all(r.alpha.grad is not None for r in dynpool.resolutions(model).values())
    frozen = dynpool.freeze(model)(x.to(dtype))
    torch.testing.assert_close(frozen.float(), out.float(), rtol=0.1, atol=0.05)


def test_gradients_are_those_without_checkpointing() -> None:
    def gradients(checkpointed: bool) -> tuple[list[Tensor], int]:
        torch.manual_seed(0)
        model = dynpool.convert(timm.create_model("resnet10t", num_classes=3), (3, 64, 64), preserve=True)
        model.set_grad_checkpointing(checkpointed)  # type: ignore[operator]
        torch.manual_seed(1)
        model(torch.randn(2, 3, 64, 64)).square().sum().backward()
        found = [r.alpha.grad for r in dynpool.resolutions(model).values()]
        return [g for g in found if g is not None], len(found)

    (expected, count), (actual, _) = gradients(False), gradients(True)
    assert len(expected) == len(actual) == count
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_checkpointing_by_hand_keeps_the_sizes_of_the_pass() -> None:
    model = learned().train(False)
    x = torch.randn(2, *SIZE, requires_grad=True)
    body = model.get_submodule("4")
    given = model.get_submodule("3")
    model(x)  # fills in the sizes
    inner = torch.randn(2, 8, 9, 7, requires_grad=True)
    out = checkpoint(body, inner, use_reentrant=False)
    assert isinstance(out, Tensor)
    out.sum().backward()
    assert inner.grad is not None
    assert isinstance(given, dynpool.DynOPool2d)


class Wrapped(nn.Module):
    """A model of one's own, as a residual network is: PyTorch's own containers are compiled along with their hooks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


def counter() -> CompileCounterWithBackend:
    torch._dynamo.reset()
    return CompileCounterWithBackend("aot_eager")


def assert_a_training_run_is_the_same(model: nn.Module, compiled: Callable[[Tensor], Tensor], x: Tensor) -> set[object]:
    """Twenty sizes and more, each number beginning to change at a step of its own; which sizes there were."""
    eager = copy.deepcopy(model)
    seen: set[object] = set()
    for step in range(24):
        with torch.no_grad():
            for one in (model, eager):
                for number, resolution in enumerate(dynpool.resolutions(one).values()):
                    resolution.alpha[0] *= 1.02 if step > number else 1
                    resolution.alpha[1] *= 1.02 if step > number + 3 else 1
        found = []
        for one, run in ((model, compiled), (eager, eager)):
            one.zero_grad()
            y = run(x)
            y.square().mean().backward()
            found.append((y, {name: parameter.grad for name, parameter in one.named_parameters()}))
            dynpool.constrain(one)
        torch.testing.assert_close(*found)
        seen.add(tuple(resolution.size for resolution in dynpool.resolutions(model).values()))
    return seen


@pytest.mark.parametrize("how", [{}, {"preserve": True}, {"order": "before"}])
def test_a_training_run_whose_sizes_change_twenty_times_is_one_compiled_graph(how: dict[str, object]) -> None:
    count = counter()
    model = dynpool.convert(Wrapped(plain()), (3, 80, 72), **how)  # type: ignore[arg-type]
    compiled = torch.compile(model, fullgraph=True, backend=count)
    assert len(assert_a_training_run_is_the_same(model, compiled, torch.randn(2, 3, 80, 72))) >= 20
    assert count.frame_count == 1


def test_so_it_is_of_a_residual_network() -> None:
    count = counter()
    torch.manual_seed(0)
    model = dynpool.convert(timm.create_model("test_resnet", num_classes=5), (3, 80, 72))
    compiled = torch.compile(model, fullgraph=True, backend=count)
    assert len(assert_a_training_run_is_the_same(model, compiled, torch.randn(2, 3, 80, 72))) >= 20
    assert count.frame_count == 1


def test_compiled_with_its_hooks_a_model_breaks_its_graph_once_before_its_first_layer() -> None:
    for wrapped in (False, True):  # as one of PyTorch's containers, and as part of a compiled function
        count = counter()
        model = dynpool.convert(plain(), (3, 80, 72))
        target = (lambda x, model=model: model(x) * 2) if wrapped else model
        compiled = torch.compile(target, backend=count)
        x = torch.randn(2, 3, 80, 72)
        for height in range(9, 30):
            dynpool.set_sizes(model, {"3": (height, 18)})
            torch.testing.assert_close(compiled(x), target(x))
            if height == 15:
                graphs = count.frame_count
        once = torch.__version__ >= "2.14"  # torch 2.11 breaks it at each layer with hooks, as often for all sizes
        assert count.frame_count == (1 + wrapped if once else graphs)
        with pytest.raises(Unsupported, match="compile the model by itself; wrap one of PyTorch's own containers"):
            torch.compile(target, fullgraph=True, backend="eager")(x)


def test_other_models_and_copies_cause_no_recompilation_and_have_sizes_of_their_own() -> None:
    count = counter()
    model = dynpool.convert(Wrapped(plain()), SIZE).eval()
    compiled = torch.compile(model, fullgraph=True, backend=count)
    x, name = torch.randn(2, *SIZE), "model.3"
    torch.testing.assert_close(compiled(x), model(x))
    copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for one, size in ((copied, (5, 11)), (pickled, (7, 6)), (model, (9, 10))):
        dynpool.set_sizes(one, {name: size})
    for one in (copied, pickled, model):
        one(x)
    torch.testing.assert_close(compiled(x), model(x))
    assert count.frame_count == 1
    for one in (copied, pickled):
        torch.testing.assert_close(torch.compile(one, fullgraph=True, backend=count)(x), one(x))


def test_feature_extractors_give_maps_of_the_learned_sizes() -> None:
    with torch.device("meta"):
        model = dynpool.convert(timm.create_model("resnet18", features_only=True), (3, 64, 64))
    dynpool.set_sizes(model, {"conv1": (27, 33), "maxpool": (14, 15), "layer3.0.conv1": (5, 4)})
    maps = model(torch.zeros(1, 3, 64, 64, device="meta"))
    assert [m.shape[-2:] for m in maps] == [(27, 33), (14, 15), (7, 8), (5, 4), (2, 2)]


@pytest.mark.parametrize(
    ("name", "status"),
    [("fcn_resnet50", "converted"), ("lraspp_mobilenet_v3_large", "converted"), ("fasterrcnn_resnet50_fpn", "refused")],
)
def test_segmentation_models_convert_and_detectors_by_their_backbone(name: str, status: str) -> None:
    """A detector scales its images itself and cuts boxes out of them: its own code sets the sizes, and it says so."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
        x = torch.zeros(1, 3, 96, 96)
        if status == "refused":
            with pytest.raises(ValueError, match="no resizer of the FasterRCNN can be learned"):
                dynpool.convert(model, (3, 96, 96))
            model = model.backbone
        learned = dynpool.convert(model, (3, 96, 96))
        first = next(iter(dynpool.resolutions(learned)))
        dynpool.set_sizes(learned, {first: (41, 55)})
        wanted = {key: value.shape for key, value in model(x).items()} if status == "converted" else {}
        for key, value in learned(x).items():
            assert value.shape == wanted.get(key, value.shape)
    assert not dynpool.conversion_report(learned).of("left alone")


def test_layers_that_are_wrapped_after_the_conversion_are_found_again() -> None:
    model: Any = learned()
    x = torch.randn(2, *SIZE)
    out, macs = model(x), dynpool.count_macs(model, SIZE).total
    model[4] = Wrapped(model[4])
    torch.testing.assert_close(model(x), out, rtol=0, atol=0)
    assert dynpool.count_macs(model, SIZE).total == macs
    torch.testing.assert_close(dynpool.freeze(model).eval()(x), model.eval()(x))


@pytest.mark.parametrize("at", ["0", "3", "4", "4.0"])
def test_replaced_layers_are_said_wherever_their_sizes_would_be_wrong(at: str) -> None:
    model: Any = learned()
    before = model.get_submodule(at)
    model.set_submodule(at, nn.Conv2d(3, 8, 3, stride=2) if at == "0" else nn.Identity())
    uses: list[Callable[[], object]] = [
        lambda: model(torch.randn(2, *SIZE)),
        lambda: dynpool.constrain(model),
        lambda: dynpool.freeze(model),
        lambda: dynpool.count_macs(model, SIZE),
        lambda: dynpool.sizes(model, SIZE),
        lambda: dynpool.resolutions(model),
        lambda: dynpool.set_sizes(model, {"0": (8, 8)}),
        lambda: dynpool.GMACsLoss(model, SIZE),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match=rf"no longer in it \('{at}(\.0)?(\.resize)?'.*layers were replaced"):
            use()
    model.set_submodule(at, before)
    model(torch.randn(2, *SIZE))


def test_layers_that_do_not_resize_can_be_replaced() -> None:
    model: Any = learned()
    model[7] = nn.Linear(8, 3)
    model[1] = nn.Identity()
    assert model(torch.randn(2, *SIZE)).shape == (2, 3)
    assert dynpool.count_macs(model, SIZE).total > 0
