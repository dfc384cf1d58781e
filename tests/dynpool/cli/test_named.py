"""A model by name has the weights of the file; a file that does not fit is named."""

import pytest
import torch

from dynpool.cli.named import with_checkpoint
from tests.analysis.representations.small import SIZE, network

NAME = "tests.analysis.representations.small:network"


def test_the_model_has_the_weights_of_the_file(tmp_path):
    model = network()
    with torch.no_grad():
        model[0].weight.add_(1)
    torch.save({f"model.{name}": value for name, value in model.state_dict().items()}, tmp_path / "net.pt")
    name, found = with_checkpoint(NAME, SIZE, tmp_path / "net.pt", "model.")
    assert name == NAME
    for key, value in found.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])


def test_a_library_is_told_the_number_of_classes(tmp_path):
    import timm

    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), tmp_path / "net.pt")
    name, found = with_checkpoint("resnet10t", (3, 32, 32), tmp_path / "net.pt", "", classes=7)
    assert name == "timm:resnet10t"
    assert found.get_submodule("fc").out_features == 7
    with pytest.raises(ValueError, match="fc"):
        with_checkpoint("resnet10t", (3, 32, 32), tmp_path / "net.pt", "", classes=5)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        with_checkpoint(NAME, SIZE, tmp_path / "none.pt", "")
