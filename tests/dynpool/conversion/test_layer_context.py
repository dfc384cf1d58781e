"""A layer's context: what it pads around its input is found."""

from __future__ import annotations

from typing import Literal

import pytest
from torch import nn

from dynpool.conversion.layer_context import sites
from dynpool.graph.tracer import trace

SIZE = (3, 30, 36)

Mode = Literal["zeros", "reflect", "replicate", "circular"]


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_the_padding_of_a_layer_is_found(mode: Mode) -> None:
    graph = trace(nn.Conv2d(3, 4, (3, 5), 2, (1, 2), padding_mode=mode), SIZE)
    (site,) = sites(graph, graph, "after", False).values()
    assert site.pad == ((1, 1), (2, 2))
    assert site.in_size == SIZE[1:]
