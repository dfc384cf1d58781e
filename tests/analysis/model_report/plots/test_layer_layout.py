"""The layout of a layer graph: no two nodes in a cell, no edge across a node, chains straight."""

import pytest
from hypothesis import given, settings

from dynpool.analysis.model_report.plots.layer_graph import LayerGraph, layer_graph
from dynpool.analysis.model_report.plots.layer_layout import Layout, lay_out
from tests.analysis.model_report.plots.connections import connected, reports


def check(graph: LayerGraph) -> Layout:
    layout = lay_out(graph)
    passed = [cell for cells in layout.edges for cell in cells[1:-1]]
    assert len({*layout.nodes}) == len(layout.nodes), "two nodes in one cell"
    assert len({*passed, *layout.nodes}) == len(passed) + len(layout.nodes), "an edge passes an occupied cell"
    edges = [(layout.nodes[source], layout.nodes[node]) for node, s in enumerate(graph.sources) for source in s]
    assert sorted(edges) == sorted((cells[0], cells[-1]) for cells in layout.edges)
    for cells in layout.edges:
        columns = [column for column, _ in cells]
        assert columns == list(range(columns[0], columns[0] + len(columns))), "from column to column, to the right"
        assert len({lane for _, lane in cells[1:-1]}) <= 1, "straight in between"
    return layout


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "hrnet_w18_small"])
def test_networks(name, report_of):
    check(layer_graph(report_of(name)))


def test_a_chain_with_shortcuts_is_straight():
    # input -> 0 -> 1 -> (+0) -> 2 -> 3 -> (+) -> 4: layer 4 is reached from 3, 1 and 0
    edges = ((-1, 0), (0, 1), (0, 2), (1, 2), (2, 3), (0, 4), (1, 4), (3, 4))
    graph = layer_graph(connected(5, edges))
    layout = check(graph)
    layers = {index: node for node, index in graph.layers.items()}
    assert [layout.nodes[layers[index]][1] for index in range(5)] == [0] * 5


@settings(max_examples=50)
@given(reports())
def test_any_graph(report):
    check(layer_graph(report))
