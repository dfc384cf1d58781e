"""The high-resolution network of DynOPool's Table 4 (PascalVOC at 480 x 480): its printed GMACs come out."""

import pytest
import torch

import dynpool
from dynpool.size_math import pair
from dynpool.training.models import MODELS

# Feature-map sizes (height, width) of the human design and of DynOPool, and GMACs, as printed. The table also counts
# normalisations, activations and resizes, which make up for about half a percent.
HUMAN = [(240, 240), (120, 120), (60, 60), (30, 30), (15, 15)]
LEARNED = [(367, 349), (134, 130), (52, 50), (22, 21), (10, 9)]
PRINTED = {"human": 82.55, "learned": 69.39}


def test_printed_gmacs_come_out_at_the_printed_sizes() -> None:
    with torch.device("meta"):
        model = MODELS["hrnet-segmentation"](num_classes=19)
    human = dynpool.count_macs(model, (3, 480, 480)).gmacs
    assert human == pytest.approx(82.124, abs=0.001)  # convolutions only
    assert 0.99 < human / PRINTED["human"] < 1

    learned = dynpool.convert(model, (3, 480, 480), order="before")
    report = dynpool.conversion_report(learned)
    assert not report.of("pinned")
    assert not report.of("left alone")
    original = dynpool.sizes(learned, (3, 480, 480))
    printed = dict(zip(HUMAN, LEARNED, strict=True))
    dynpool.set_sizes(learned, {name: printed[pair(original[name])] for name in dynpool.resolutions(learned)})
    gmacs = dynpool.count_macs(learned, (3, 480, 480)).gmacs
    assert gmacs == pytest.approx(68.948, abs=0.001)
    assert 0.99 < gmacs / PRINTED["learned"] < 1
