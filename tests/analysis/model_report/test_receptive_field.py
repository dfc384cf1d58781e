"""The report of a model: its plots and its graph are those of the same report, its data those of the fields."""

import pytest
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.analysis.common.style import to_png
from dynpool.analysis.model_report.plots.dot import to_dot
from dynpool.analysis.model_report.plots.kinds import KINDS, plot_report
from dynpool.graph.tracer import trace

SIZE = (3, 24, 24)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 1, 1))


def test_fields_add_up_from_layer_to_layer():
    report = receptive_field(net(), SIZE)
    assert [row.r_min for row in report.layers] == [(3, 3), (5, 5), (13, 13)]  # 3, + 1 * 2, + 2 * 4
    assert report.i_min == (13, 13)
    assert report.total_macs == sum(trace(net(), SIZE).macs_by_node.values())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_plot_is_drawn_from_the_report(kind):
    report = receptive_field(net(), SIZE)
    assert to_png(report.plot(kind), dpi=30) == to_png(plot_report(report, kind, {}), dpi=30)


def test_the_graph_is_that_of_the_report():
    report = receptive_field(net(), SIZE)
    assert report.to_dot() == to_dot(report)
    assert report.to_dot().count(" -> ") == len(report.edges)


def test_what_is_no_model_and_no_size_is_named():
    with pytest.raises(TypeError, match="model"):
        receptive_field("vgg", SIZE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input_size"):
        receptive_field(net(), (3, 24, 0))
