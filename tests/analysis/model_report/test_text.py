"""The verdict has the numbers of the layers; what tables leave out or mean by short words stands below them."""

import pytest
import torch
import torchvision
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.analysis.fields import GLOBAL_PATH
from dynpool.analysis.model_report.text import verdict
from dynpool.baselines import FixedSpectralPooling2d


@pytest.fixture(scope="module")
def vgg():
    with torch.device("meta"):
        return receptive_field(torchvision.models.vgg16(), (3, 32, 32))


def test_sentence_counted_by_hand(vgg):
    convs = [row for row in vgg.layers if row.kind == "convolution"]
    # the seven behind features.12, whose r_min is 32: one of 256 channels, one of 256 to 512, five of 512
    parameters = 590080 + 1180160 + 5 * 2359808
    macs = 37748736 * 3 + 18874368 + 9437184 * 3
    assert len(convs) == 13
    assert (vgg.unproductive_parameters, vgg.unproductive_macs) == (parameters, macs)
    share, work = round(100 * parameters / 138357544), round(100 * macs / vgg.total_macs)
    assert verdict(vgg) == (
        f"7 of 13 convolutions are unproductive at 32 pixels: {share} % of parameters, {work} % of MACs"
    )


def test_other_sentences():
    one = nn.Sequential(nn.Conv2d(3, 4, 9, padding=4), nn.Conv2d(4, 4, 3, padding=1))
    assert verdict(receptive_field(one, (3, 9, 8))).startswith("1 of 2 convolutions is unproductive at 9x8 pixels: ")
    assert verdict(receptive_field(one, (3, 40, 40))) == ("All 2 convolutions are productive at 40 pixels (I_min 11)")
    pooled = nn.Sequential(one[0], nn.MaxPool2d(2, 1))
    assert verdict(receptive_field(pooled, (3, 9, 9))) == (
        "The only convolution is productive at 9 pixels (I_min 10), 1 other layer is not"
    )
    spectral = nn.Sequential(one[0], FixedSpectralPooling2d(2), one[1])
    assert verdict(receptive_field(spectral, (3, 40, 40))) == (
        "The only convolution is productive at 40 pixels (I_min 9); 1 more is behind a global operation and not counted"
    )
    none = nn.Sequential(nn.MaxPool2d(2))
    assert verdict(receptive_field(none, (3, 8, 8))) == "No layer is a convolution with a local receptive field"

    class Unknown(nn.Module):
        def forward(self, x):
            return torch.histc(x)

    report = receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3), Unknown()), (1, 8, 8))
    assert verdict(report).endswith("; unreliable, as there is no rule for aten.histc")


class Attends(nn.Module):
    """A convolution, attention over its positions by functions, a transposed convolution, a transform."""

    def __init__(self):
        super().__init__()
        self.embed, self.up = nn.Conv2d(3, 8, 4, stride=4), nn.ConvTranspose2d(8, 8, 3, stride=2)
        self.last = nn.Conv2d(8, 4, 3)

    def forward(self, x):
        x = self.embed(x)
        tokens = x.flatten(2).mT
        seen = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mT.reshape(x.shape)
        return torch.fft.rfft2(self.last(self.up(x + seen))).abs()


def test_what_a_table_leaves_out_and_its_short_words_are_explained():
    report = receptive_field(Attends(), (3, 32, 32), batch=2)
    lines = str(report).splitlines()
    assert "not in the table, as they have no window: 2 attention products (34 % of MACs)" in lines
    attention, macs = 2 * 64 * 64 * 8, 64 * 8 * 48 + 64 * 8 * 72 + 15 * 15 * 4 * 72 + 2 * 64 * 64 * 8
    assert (round(100 * attention / macs), report.total_macs) == (34, macs)
    assert f"in all {report.total_parameters:,} parameters, {macs:,} MACs, without aten._fft_r2c x1" in lines
    assert "S: effective stride, the product of all strides so far; I_res: size of the input" in lines
    assert "Table 7's rule: the largest max(r_min, kernel · S), as Table 7 of Richter and Pal has it" in lines
    assert any(line.endswith("for 2 images") for line in lines)
    assert [line.split()[0] for line in lines if "*" in line] == ["up", "last", "I_min", "*"]
    assert f"* {GLOBAL_PATH}" in lines
    plain = str(report.table(1, ["macs"]))
    assert "I_res" not in plain
    assert "attention product" in str(report.table(1, ["kind"]))


def test_layers_whose_positions_differ_are_marked():
    report = receptive_field(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 3, 2)), (3, 32, 32))
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines if "~" in line] == ["1", "~"]
    assert "4~" in lines[2].split()
    assert "~ positions differ in what they see: report.seen(layer, position) tells it exactly" in lines
    assert "~" not in str(report.table(columns=["r_min"]))


def test_an_incomplete_count_is_named_beside_its_share():
    whole = nn.Sequential(nn.Conv2d(3, 4, 9, padding=4), nn.Conv2d(4, 4, 3, padding=1), Spectrum())
    assert verdict(receptive_field(whole, (3, 9, 8))).endswith(" % of MACs, without aten._fft_r2c x1")


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft2(x).abs()


def test_bad_tables():
    report = receptive_field(nn.Conv2d(3, 4, 3), (3, 8, 8))
    with pytest.raises(ValueError, match="columns: unknown column 'flops'; allowed: kind, calls"):
        report.table(columns=["macs", "flops"])
    for depth in (-1, 1.5, True):
        with pytest.raises(ValueError, match=f"depth must be an int of at least 0, got {depth}"):
            report.table(depth)  # type: ignore[arg-type]
