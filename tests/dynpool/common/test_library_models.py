"""Models of timm and torchvision by name: which is meant, and that nothing is downloaded for it."""

import socket
from typing import NoReturn

import pytest
import torch

from dynpool.common.library_models import create_model, full_name, model_names


def test_a_name_of_both_libraries_means_timm_unless_it_says_otherwise() -> None:
    assert "vgg11" in model_names("timm")
    assert "vgg11" in model_names("torchvision")
    assert full_name("vgg11") == full_name("timm:vgg11") == "timm:vgg11"
    assert full_name("torchvision:vgg11") == "torchvision:vgg11"
    assert full_name("mnasnet0_5") == "torchvision:mnasnet0_5"
    assert full_name("resnet18.a1_in1k") == "timm:resnet18.a1_in1k"


def test_an_unknown_name_gets_the_nearest_of_its_library() -> None:
    for name, said in (
        ("resnet5O", "size.model is 'resnet5O': no such model in timm or torchvision; did you mean 'resnet50'"),
        ("torchvision:vgg61", "no such model in torchvision; did you mean .*'torchvision:vgg16'"),
        ("my-n3t", "did you mean 'my-net'"),
        ("zzqqx", r"no such model in timm or torchvision; timm.list_models\(\) and torchvision"),
    ):
        with pytest.raises(ValueError, match=said):
            full_name(name, "size.model", own=["my-net"])


def test_models_that_classify_are_those_of_one_score_for_each_class() -> None:
    assert full_name("fcn_resnet50") == "torchvision:fcn_resnet50"
    with pytest.raises(ValueError, match="no such model in timm or torchvision"):
        full_name("fcn_resnet50", classifiers=True)


def test_models_have_random_weights_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with torch.device("meta"):
        assert create_model("timm:resnet10t", num_classes=7).get_classifier().out_features == 7  # type: ignore[operator]
        assert create_model("torchvision:fcn_resnet50", num_classes=7).classifier[-1].out_channels == 7  # type: ignore[index,union-attr]
