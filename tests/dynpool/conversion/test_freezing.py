"""Freezing: plain operations, the live model's outputs at every input size, strides put back, export."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.baselines import DiffStride2d
from dynpool.conversion import thawed
from tests.dynpool.conversion.learned import SIZE, Branches, close, converted, learn


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


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("resnet18", {}),
        ("resnet18", {"preserve": True}),
        ("tf_mobilenetv3_small_minimal_100", {"preserve": True}),
        ("regnetx_002", {"preserve": True, "order": "before"}),
        ("hrnet_w18_small", {}),
    ],
)
def test_a_thawed_model_is_the_live_one_again(name: str, how: dict[str, Any]) -> None:
    """Outputs at any input size, gradients to all alphas and the names of the state dict; the frozen one stays."""
    model = learn(converted(name, **how))
    frozen = dynpool.freeze(model)
    thawed_model = thawed(frozen)
    for hw in ((80, 64), (64, 64)):
        x = torch.randn(1, 3, *hw)
        close(thawed_model(x).detach(), model(x).detach())
        close(frozen(x).detach(), model(x).detach())
    gradients = []
    for live in (model, thawed_model):
        alphas = [r.alpha for r in dynpool.resolutions(live).values()]
        gradients.append(torch.autograd.grad(live(x).square().sum(), alphas))
    for a, b in zip(*gradients, strict=True):
        close(a, b)
    assert list(thawed_model.state_dict()) == list(model.state_dict())
    assert dynpool.sizes(thawed_model, SIZE) == dynpool.sizes(model, SIZE)
    assert not any(isinstance(module, dynpool.LearnedResizer2d) for module in frozen.modules())
    close(dynpool.freeze(thawed_model)(x), model(x))


def test_a_thawed_model_has_the_sizes_that_were_loaded() -> None:
    model = learn(converted("resnet18"))
    frozen = dynpool.freeze(converted("resnet18"))
    frozen.load_state_dict(model.state_dict())
    assert dynpool.sizes(thawed(frozen), SIZE) == dynpool.sizes(model, SIZE)


def test_what_cannot_be_thawed() -> None:
    with pytest.raises(ValueError, match=r"model is a Conv2d, which was not made by dynpool\.freeze"):
        thawed(nn.Conv2d(3, 4, 3))
    frozen = dynpool.freeze(converted("resnet18", pool=DiffStride2d))
    with pytest.raises(ValueError, match=r"was frozen with DiffStride2d, which cannot be undone"):
        thawed(frozen)


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
        close(frozen(x).detach(), model(x).detach())
        assert list(other.state_dict()) == list(state)
        other.load_state_dict(state)


EXPORTED = [
    ("test_resnet", {}, {}),
    ("tf_mobilenetv3_small_minimal_100", {}, {"preserve": True}),
    ("test_resnet", {"stem_type": "deep_tiered", "avg_down": True}, {"preserve": True}),
    ("test_convnext", {}, {}),
]


@pytest.mark.parametrize(("name", "options", "how"), EXPORTED)
@torch.no_grad()
def test_frozen_models_are_exported(
    name: str, options: dict[str, object], how: dict[str, object], tmp_path: Path
) -> None:
    model = learn(converted(name, options, **how))
    frozen = dynpool.freeze(model)
    x = torch.randn(2, *SIZE)
    live = model(x)
    program = torch.export.export(frozen, (x,))
    close(program.module()(x), live)
    assert "dynpool" not in program.graph_module.code
    path = str(tmp_path / "model.onnx")
    exported = frozen if name == "test_convnext" else program  # a model is exported once more
    torch.onnx.export(exported, (x,), path, dynamo=True, verbose=False)
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
