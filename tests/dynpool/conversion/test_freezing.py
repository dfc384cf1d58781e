"""Freezing: plain operations, the live model's outputs at every input size, strides put back, export."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, Literal

import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.feature_extraction import create_feature_extractor

import dynpool
from dynpool.analysis import receptive_field
from dynpool.resizers import fixed

SIZE = (3, 64, 64)


def converted(name: str, **how: object) -> nn.Module:
    torch.manual_seed(0)
    return dynpool.convert(timm.create_model(name, num_classes=7), SIZE, **how).eval()  # type: ignore[arg-type]


def learn(model: nn.Module) -> nn.Module:
    """Give every second resolution a size that training could have found."""
    wanted = {}
    for i, (name, found) in enumerate(dynpool.resolutions(model).items()):
        if found.size is not None and found.size[0] >= 8 and i % 2:
            wanted[name] = (found.size[0] + 3, found.size[1] - 2)
    assert wanted
    dynpool.set_sizes(model, wanted)
    return model


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5 * float(b.abs().max()))


class Namespaces(TorchDispatchMode):
    """Notes to which libraries the operations belong that run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.namespace)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("resnet18", {}),
        ("resnet18", {"preserve": True}),
        ("tf_mobilenetv3_small_minimal_100", {"preserve": True}),
        ("regnetx_002", {"preserve": True, "order": "before"}),
    ],
)
@torch.no_grad()
def test_frozen_models_follow_the_tree_at_other_input_sizes(name: str, how: dict[str, object]) -> None:
    model = learn(converted(name, **how))
    frozen = dynpool.freeze(model)
    assert not any(isinstance(m, dynpool.LearnedResizer2d) for m in frozen.modules())
    for hw in ((64, 64), (75, 90), (64, 64), (128, 96)):
        x = torch.randn(1, 3, *hw)
        close(frozen(x), model(x))
        assert dynpool.sizes(frozen, (3, *hw)) == dynpool.sizes(model, (3, *hw))
    with Namespaces() as ran:
        frozen(x)
    assert ran.seen == {"aten"}


def test_strides_that_compute_the_same_are_put_back() -> None:
    model = converted("resnet18", preserve=True)
    original = timm.create_model("resnet18", num_classes=7)
    untouched = dynpool.freeze(model)
    report = dynpool.freeze_report(untouched)
    assert sum(len(row.strided) for row in report.rows) == 8
    assert not any(row.resized for row in report.rows)
    assert dynpool.count_macs(untouched, SIZE).total == dynpool.count_macs(original, SIZE).total
    dynpool.set_sizes(model, {"layer3.0.conv1": (5, 4)})
    moved = dynpool.freeze_report(dynpool.freeze(model))
    assert {row.name: len(row.resized) for row in moved.rows if row.resized} == {
        "layer3.0.conv1": 2,
        "layer4.0.conv1": 2,
    }


def test_a_stride_is_put_back_only_at_sizes_where_it_computes_the_same() -> None:
    model = dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1)), (3, 16, 16), preserve=True)
    frozen = dynpool.freeze(model)
    for hw, stride in [((16, 16), (2, 2)), ((17, 16), (1, 1)), ((16, 16), (2, 2)), ((32, 24), (2, 2))]:
        x = torch.randn(1, 3, *hw)
        torch.testing.assert_close(frozen(x), model(x))
        assert frozen.get_submodule("0").stride == stride


def test_the_report_of_a_frozen_model() -> None:
    frozen = dynpool.freeze(learn(converted("resnet18")))
    report = dynpool.freeze_report(frozen)
    assert {row.name: row.size for row in report.rows} == dynpool.sizes(frozen, SIZE)
    assert report.to_dict()["rows"][1]["strides"] == (2.0, 2.0)
    assert [line.split()[:3] for line in str(report).splitlines()][:2] == [
        ["resolution", "height", "width"],
        ["input", "64", "64"],
    ]
    with pytest.raises(ValueError, match=r"not made by dynpool\.freeze"):
        dynpool.freeze_report(nn.Identity())
    with pytest.raises(ValueError, match="frozen"):
        dynpool.convert(frozen, SIZE)
    with pytest.raises(ValueError, match="no learned resolution"):
        dynpool.resolutions(frozen)


@torch.no_grad()
def test_frozen_models_are_copied_and_stored_whole() -> None:
    model = learn(converted("resnet18", preserve=True))
    frozen = dynpool.freeze(model)
    state = timm.create_model("resnet18", num_classes=7).state_dict()
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        for hw in ((80, 64), (64, 64)):
            x = torch.randn(1, 3, *hw)
            assert torch.equal(other(x), frozen(x))
        other(torch.zeros(1, 3, 96, 96))  # its sizes are its own
        close(frozen(x), model(x))
        assert list(other.state_dict()) == list(state)
        other.load_state_dict(state)


@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (5, 7), (3, 11)])
def test_a_fixed_pool_has_the_values_of_the_operator(size: tuple[int, int], reduce: str) -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = dynpool.dynopool2d(x, 2.0, reduce=reduce, size=size)  # type: ignore[arg-type]
    pool = dynpool.FixedPool2d((2, 2), reduce=reduce)  # type: ignore[arg-type]
    torch.testing.assert_close(pool(x, size), expected)
    assert pool(x).shape == (2, 3, 2, 2)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes are constants of a trace
@pytest.mark.parametrize("reduce", ["max", "mean", "sample"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_infinite_and_nan_pixels_stay_within_their_cells(reduce: Literal["max", "mean", "sample"], dtype) -> None:
    """As in the operator: compared over sizes that go up, down and by whole numbers, eager, traced and compiled."""
    torch.manual_seed(0)
    for hw, size in [((8, 8), (5, 5)), ((7, 12), (3, 6)), ((5, 4), (9, 8)), ((1, 6), (2, 4)), ((9, 8), (3, 3))]:
        x = torch.randn(2, 3, *hw)
        for value in (float("inf"), -float("inf"), float("nan")):
            x[torch.rand(x.shape) < 0.15] = value
        x[0, 0, : hw[0] // 2] = -float("inf")  # a masked region
        x = x.to(dtype)
        expected = dynpool.dynopool2d(x, 2.0, reduce=reduce, size=size)
        pool = dynpool.FixedPool2d(size, reduce=reduce)
        for found in (pool(x), pool(x[0]).unsqueeze(0), torch.jit.trace(pool, x, check_trace=False)(x)):
            assert found.dtype == dtype
            torch.testing.assert_close(found, expected[: len(found)], equal_nan=True)


def test_finite_maps_are_interpolated_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that is right for infinite values takes several times as long."""
    calls = []
    monkeypatch.setattr(fixed, "_queried", lambda *args: calls.append(args))
    dynpool.FixedPool2d((5, 5))(torch.randn(1, 2, 8, 8))
    assert not calls


EXPORTED = [
    ("resnet18", {}),
    ("tf_mobilenetv3_small_minimal_100", {"preserve": True}),
    ("resnet26t", {"preserve": True}),
    ("convnext_atto", {}),
]


@pytest.mark.parametrize(("name", "how"), EXPORTED)
@torch.no_grad()
def test_frozen_models_are_exported(name: str, how: dict[str, object], tmp_path: Path) -> None:
    model = learn(converted(name, **how))
    frozen = dynpool.freeze(model)
    x = torch.randn(2, *SIZE)
    live = model(x)
    program = torch.export.export(frozen, (x,))
    close(program.module()(x), live)
    assert "dynpool" not in program.graph_module.code
    path = str(tmp_path / "model.onnx")
    torch.onnx.export(frozen, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    close(torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]), live)
    close(frozen(x), live)  # exporting has left nothing behind


@torch.no_grad()
def test_frozen_models_compile_to_one_graph_a_size() -> None:
    model = learn(converted("resnet18", preserve=True))
    frozen = dynpool.freeze(model)
    graphs = []

    def backend(module: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(module)
        return module.forward

    compiled = torch.compile(frozen, backend=backend, fullgraph=True, dynamic=False)
    for hw in ((64, 64), (96, 80), (64, 64)):
        x = torch.randn(1, 3, *hw)
        close(compiled(x), model(x))
    assert len(graphs) <= 3


class Branches(nn.Module):
    """Two strided layers that meet, and an upsampling that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.right = nn.AvgPool2d(3, 2, 1)
        self.project = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.MaxPool2d(3, 2, 1))
        self.up = nn.Upsample(scale_factor=4, mode="bilinear")

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.left(x)) + self.project(self.right(x))
        return self.up(self.deep(y)) + y


@pytest.mark.parametrize("how", [{}, {"preserve": True}, {"order": "before"}, {"order": "before", "preserve": True}])
def test_frozen_models_have_the_fields_of_live_ones(how: dict[str, object]) -> None:
    """At sizes that no stride gives, which native operations reach by indices that a pass without data lacks."""
    model = learn(dynpool.convert(Branches(), SIZE, **how))  # type: ignore[arg-type]
    live, fixed = receptive_field(model, SIZE), receptive_field(dynpool.freeze(model), SIZE)
    rows = [
        {row.name: (row.r_min, row.r_max) for row in report.layers if row.kind == "convolution"}
        for report in (live, fixed)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 3
    assert (fixed.i_min, fixed.behind_global) == (live.i_min, live.behind_global)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("how", [{}, {"preserve": True}, {"order": "before"}, {"order": "before", "preserve": True}])
@torch.no_grad()
def test_frozen_models_are_scripted_and_traced(how: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = Branches().eval()
    net.norm.weight.copy_(torch.tensor([1.0, -1.0, 0.5, -2.0]))  # folded over a max pool, negative ones change outputs
    model = learn(dynpool.convert(net, SIZE, **how)).eval()  # type: ignore[arg-type]
    frozen = dynpool.freeze(model)
    x, larger = torch.randn(2, *SIZE), torch.randn(1, 3, 80, 96)
    frozen(larger)  # sizes of another input are not what is recorded
    scripted = torch.jit.script(frozen)
    assert list(scripted.state_dict()) == list(frozen.state_dict())
    symbolic = torch.fx.symbolic_trace(frozen)
    features = create_feature_extractor(frozen, {"add_1": "sum"})
    for _ in range(2):
        expected = model(x)
        close(scripted(x), expected)
        close(torch.jit.trace(frozen, x)(x), expected)
        close(symbolic(x), expected)
        close(fuse(symbolic)(x), expected)
        close(features(x)["sum"], expected)
        close(frozen(larger), model(larger))  # nor does it change what was recorded


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("how", [{}, {"preserve": True}, {"order": "before"}, {"order": "before", "preserve": True}])
@torch.no_grad()
def test_parts_of_frozen_models_are_scripted(how: dict[str, object]) -> None:
    """At the sizes that they have in a pass of the whole model at the input of the conversion."""
    torch.manual_seed(0)
    frozen = dynpool.freeze(learn(dynpool.convert(Branches().eval(), SIZE, **how)).eval())  # type: ignore[arg-type]
    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}
    parts = {name: frozen.get_submodule(name) for name in ("left", "right", "deep", "deep.0", "up")}
    seeing = []
    for name, part in parts.items():

        def see(_: object, args: tuple[Tensor, ...], out: Tensor | None = None, name: str = name) -> None:
            (given if out is None else made)[name] = (args[0] if out is None else out).clone()

        seeing += [part.register_forward_pre_hook(see, prepend=True), part.register_forward_hook(see)]
    frozen(torch.randn(2, *SIZE))
    for handle in seeing:
        handle.remove()
    frozen(torch.randn(1, 3, 80, 96))  # sizes of another input are not what is compiled
    before = [part.extra_repr() for part in frozen.modules()]
    for name, part in parts.items():
        x, expected = given[name], made[name]
        scripted = torch.jit.script(part)
        assert list(scripted.state_dict()) == list(part.state_dict())
        close(scripted(x), expected)
        close(torch.jit.script(nn.Sequential(part))(x), expected)
    assert [part.extra_repr() for part in frozen.modules()] == before


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_cannot_be_scripted_or_traced_says_so() -> None:
    class Calling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.max_pool2d(self.conv(x), 2)

    net = nn.Sequential(Calling(), nn.Conv2d(4, 4, 1))
    live = dynpool.convert(net, SIZE)
    dynpool.set_sizes(live, {next(iter(dynpool.resolutions(live))): (20, 30)})
    frozen = dynpool.freeze(live)
    with pytest.raises(TypeError, match=r"cannot compile 0 \(Calling\) of a frozen model.* use torch\.jit\.trace"):
        torch.jit.script(frozen)
    x = torch.randn(1, *SIZE)
    close(torch.fx.symbolic_trace(frozen)(x), live(x))
    with pytest.raises(TypeError, match=r"a converted model.*dynpool\.freeze"):
        torch.jit.script(live)
    with pytest.raises(TypeError, match=r"a converted model.*dynpool\.freeze"):
        torch.fx.symbolic_trace(live)
