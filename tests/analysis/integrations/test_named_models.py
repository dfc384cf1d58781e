"""Models by name, without downloads, and the errors for unknown names."""

import socket
import sys

import pytest
import torch
from torch import nn

from dynpool.analysis.integrations.named_models import named_model


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_names_of_both_libraries():
    assert named_model("vgg11", (3, 32, 32), weights=False)[0] == "timm:vgg11"
    name, model = named_model("torchvision:vgg11", (3, 32, 32), weights=False)
    assert name == "torchvision:vgg11"
    assert type(model).__module__.startswith("torchvision")
    assert named_model("fcn_resnet50", (3, 64, 64), weights=False)[0] == "torchvision:fcn_resnet50"
    assert named_model("mnasnet0_5", (3, 64, 64), weights=False)[0] == "torchvision:mnasnet0_5"


def test_weights_take_memory_only_when_asked_for():
    assert next(named_model("resnet10t", (1, 32, 32), weights=False)[1].parameters()).is_meta
    model = named_model("resnet10t", (1, 32, 32))[1]
    first = next(model.parameters())
    assert not first.is_meta
    assert first.shape[1] == 1, "channels of the input"


def test_a_model_of_fixed_size_is_built_for_the_input():
    _, model = named_model("vit_tiny_patch16_224", (3, 64, 96))
    assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 1000)


def test_a_callable_and_a_module(tmp_path, monkeypatch):
    source = "from torch import nn\nnet = nn.Conv2d(3, 1, 3)\nclass A:\n    make = staticmethod(lambda: nn.ReLU())\n"
    (tmp_path / "own_nets.py").write_text(
        source + "number = 3\ndef wrong(): return 3\ndef needs(x): return nn.ReLU()\ndef fails():\n    {}['gone']\n"
    )
    (tmp_path / "broken_nets.py").write_text("import not_there_at_all\n")
    (tmp_path / "unfinished_nets.py").write_text("def net(:\n")
    (tmp_path / "leaving_nets.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(named_model("own_nets:net", (3, 8, 8))[1], nn.Conv2d)
    assert isinstance(named_model("own_nets:A.make", (3, 8, 8))[1], nn.ReLU)
    for name, said in (
        ("own_nets:nett", "has no attribute 'nett'"),
        ("own_nets:number", "'own_nets:number', which is of type int, not a callable"),
        ("own_nets:wrong", "it returned a int, not an nn.Module"),
        ("own_nets:needs", "called without arguments, it raised TypeError: .*'x'"),
        ("own_nets:fails", r"called without arguments, it raised KeyError: 'gone' \(own_nets.py, line 9\)"),
        ("broken_nets:net", r"cannot be imported: .*No module named 'not_there_at_all' \(broken_nets.py, line 1\)"),
        ("unfinished_nets:net", r"cannot be imported: SyntaxError: .*\(unfinished_nets.py, line 1\)"),
        ("leaving_nets:net", r"cannot be imported: SystemExit: 3 \(leaving_nets.py, line 2\)"),
        ("own_nets:", "give your own model as package.module:callable"),
        (".own_nets:net", "give your own model as package.module:callable"),
        ("own_netz:net", "there is no module 'own_netz'$"),
        ("torchvison:resnet18", "there is no module 'torchvison'; did you mean 'torchvision'"),
        (":net", "model is ':net'"),
    ):
        with pytest.raises(ValueError, match=said):
            named_model(name, (3, 8, 8))
    sys.modules.pop("own_nets")


def test_wrong_names_get_the_nearest():
    with pytest.raises(ValueError, match="no such model in timm or torchvision; did you mean 'resnet50'"):
        named_model("resnet5O", (3, 32, 32))
    with pytest.raises(ValueError, match=r"no such model in torchvision; did you mean .*'torchvision:vgg16'"):
        named_model("torchvision:vgg61", (3, 32, 32))
    with pytest.raises(ValueError, match=r"torchvision:vgg11 cannot be built for \(1, 32, 32\): .* 3 channels, not 1"):
        named_model("torchvision:vgg11", (1, 32, 32))
