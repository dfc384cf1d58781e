"""Converted models in daily use: checkpoints, copies, averaging, several processes, layouts, precisions, compilers."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
import torchvision
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import Tensor, nn
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


def test_compiled_live_models_follow_the_sizes_with_few_graphs() -> None:
    torch._dynamo.reset()
    model = learned(preserve=True).eval()
    graphs = []

    def backend(module: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(module)
        return module.forward

    compiled = torch.compile(model, backend=backend)
    x = torch.randn(2, *SIZE)
    with torch.no_grad(), torch._dynamo.config.patch(allow_unspec_int_on_nn_module=True):
        for height in range(6, 14):
            dynpool.set_sizes(model, {"3": (height, 20 - height)})
            torch.testing.assert_close(compiled(x), model(x))
    assert len(graphs) == 2  # one for the first sizes, one for all others


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
