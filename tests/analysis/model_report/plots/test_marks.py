"""Titles count unproductive and underutilized layers."""

from types import SimpleNamespace

import pytest
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.analysis.common.colors import UNDERUTILIZED, UNPRODUCTIVE
from dynpool.analysis.model_report.plots.marks import field_text, marks, window_text


@pytest.mark.parametrize(
    ("layers", "size", "said"),
    [
        (1, 32, "The only layer is productive at 32×32 pixels"),
        (2, 32, "All 2 layers are productive at 32×32 pixels"),
        (2, 4, "1 of 2 layers is underutilized at 4×4 pixels"),
    ],
)
def test_titles_count_unproductive_and_underutilized_layers(layers, size, said):
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(layers)))
    figure = receptive_field(model, (3, size, size)).plot("network")
    assert said in [text.get_text() for text in figure.axes[0].texts]


def row(**figures):
    given = {"kernel": (3, 3), "stride": (1, 1), "r_min": (3, 3), "r_max_local": (3, 3), "has_global_path": False}
    return SimpleNamespace(**(given | figures))


def test_windows_are_shown_as_kernel_and_stride_unless_that_is_one():
    assert window_text(row()) == "3x3"
    assert window_text(row(kernel=(3, 5), stride=(2, 2))) == "3x5 / 2"
    assert window_text(row(stride=(2, 1.5))) == "3x3 / 2x1.5"


def test_one_field_stands_for_paths_that_agree_and_a_star_for_a_global_one():
    assert field_text(row()) == "r 3"
    assert field_text(row(r_max_local=(3, 7))) == "r 3–3x7"
    assert field_text(row(r_max_local=(9, 9), has_global_path=True)) == "r 3–9*"


def test_each_layer_has_the_stronger_of_its_marks(vgg):
    marked = dict(zip((r.name for r in vgg.layers), marks(vgg), strict=True))
    assert {name for name, mark in marked.items() if mark == UNPRODUCTIVE} == set(vgg.unproductive)
    assert {name for name, mark in marked.items() if mark == UNDERUTILIZED} == {"features.12"}
