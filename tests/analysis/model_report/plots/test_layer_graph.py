"""The layer graph keeps all connections with few edges; its layout has no overlaps."""

from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from dynpool.analysis import receptive_field
from dynpool.analysis.model_report.plots.layer_graph import INPUT, layer_graph
from dynpool.analysis.model_report.plots.layer_layout import lay_out


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
    return graph, layout


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "hrnet_w18_small"])
def test_networks(name):
    with torch.device("meta"):
        model = (
            timm.create_model(name)
            if name.startswith("hrnet")
            else torchvision.models.get_model(
                name, weights=None, **({"init_weights": False} if name == "googlenet" else {})
            )
        )
    report = receptive_field(model, (3, 224, 224))
    graph, _ = check(report)
    edges = sum(map(len, graph.sources))
    assert edges <= 2.6 * len(report.layers), "about as many edges as layers"


def test_a_residual_block_has_its_addition_back():
    # input -> 0 -> 1 -> (+0) -> 2 -> 3 -> (+) -> 4: layer 4 is reached from 3, 1 and 0
    report = SimpleNamespace(layers=[None] * 5, edges=((-1, 0), (0, 1), (0, 2), (1, 2), (2, 3), (0, 4), (1, 4), (3, 4)))
    graph, layout = check(report)
    layers = {index: node for node, index in graph.layers.items()}
    (first,), (second,) = graph.sources[layers[2]], graph.sources[layers[4]]
    assert sorted(graph.sources[first]) == [layers[0], layers[1]]
    assert sorted(graph.sources[second]) == sorted([first, layers[3]])
    assert [layout.nodes[layers[index]][1] for index in range(5)] == [0] * 5, "the chain is straight"


@given(st.data())
def test_any_graph(data):
    count = data.draw(st.integers(1, 12))
    edges = {
        (source, target)
        for target in range(count)
        for source in data.draw(st.sets(st.integers(-1, target - 1), min_size=target == 0, max_size=4))
    }
    check(SimpleNamespace(layers=[None] * count, edges=tuple(sorted(edges))))
