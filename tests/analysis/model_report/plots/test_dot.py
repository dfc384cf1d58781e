"""The graph for Graphviz has every layer and edge."""

import re


def test_dot_text_has_every_layer_and_edge(vgg):
    text = vgg.to_dot()
    assert text.startswith("digraph network {")
    assert text.rstrip().endswith("}")
    assert len(re.findall(r"n\d+ -> n\d+;", text)) == len(vgg.edges), "a chain has no junctions"
    for row in vgg.layers:
        (line,) = [line for line in text.splitlines() if f'label="{row.name}\\n' in line]
        assert ('fillcolor="#A50F15"' in line) == (row.name in vgg.unproductive)
    assert text.count('tooltip="underutilized"') == len(vgg.underutilized) - len(vgg.unproductive)
