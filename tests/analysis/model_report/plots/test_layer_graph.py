"""The layer graph keeps all connections with few edges."""

import pytest
from hypothesis import given

from dynpool.analysis.model_report.plots.layer_graph import INPUT, layer_graph
from tests.analysis.model_report.plots.connections import connected, reports


def reached(graph):
    """The report's edges, recovered: (from, to) over all paths through junctions."""
    found = set()
    for node, index in graph.layers.items():
        open_nodes = list(graph.sources[node])
        while open_nodes:
            source = open_nodes.pop()
            if source in graph.layers:
                found.add((graph.layers[source], index))
            else:
                open_nodes += graph.sources[source]
    return found


def check(report):
    graph = layer_graph(report)
    assert reached(graph) == set(report.edges)
    assert sorted(graph.layers.values()) == [INPUT, *range(len(report.layers))]
    assert all(source < node for node, sources in enumerate(graph.sources) for source in sources)
    return graph


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "hrnet_w18_small"])
def test_networks(name, report_of):
    report = report_of(name)
    graph = check(report)
    edges = sum(map(len, graph.sources))
    assert edges <= 2.6 * len(report.layers), "about as many edges as layers"


def test_a_residual_block_has_its_addition_back():
    # input -> 0 -> 1 -> (+0) -> 2 -> 3 -> (+) -> 4: layer 4 is reached from 3, 1 and 0
    report = connected(5, ((-1, 0), (0, 1), (0, 2), (1, 2), (2, 3), (0, 4), (1, 4), (3, 4)))
    graph = check(report)
    layers = {index: node for node, index in graph.layers.items()}
    (first,), (second,) = graph.sources[layers[2]], graph.sources[layers[4]]
    assert sorted(graph.sources[first]) == [layers[0], layers[1]]
    assert sorted(graph.sources[second]) == sorted([first, layers[3]])


@given(reports())
def test_any_graph(report):
    check(report)
