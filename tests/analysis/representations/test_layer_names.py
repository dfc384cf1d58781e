"""Layers are all that have weights of their own, or those that are named."""

import pytest
from torch import nn

from dynpool.analysis.representations.layer_names import checked_names, layer_names
from tests.analysis.representations.small import network


def test_all_convolutions_and_linear_layers_by_default():
    assert layer_names(network(), None) == ["0", "4", "7", "9", "12"]
    assert layer_names(nn.Sequential(nn.Conv1d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1)), None) == ["0", "1"]


def test_named_ones_count_once_in_the_given_order():
    assert layer_names(network(), ["9", "3", "9"]) == ["9", "3"]
    assert checked_names(network(), (), "heatmaps") == []


@pytest.mark.parametrize(
    ("model", "names", "error", "said"),
    [
        (network(), ["13"], ValueError, "mine: the Sequential has no layer '13'; did you mean '3'"),
        (network(), [], ValueError, "mine is empty"),
        (nn.ReLU(), None, ValueError, "mine: the ReLU has no convolution or linear layer"),
        (network(), "12", TypeError, "mine must be a list of names"),
        (network(), [1], TypeError, "mine must be a list of names"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_the_argument(model, names, error, said):
    with pytest.raises(error, match=said):
        layer_names(model, names, "mine")
