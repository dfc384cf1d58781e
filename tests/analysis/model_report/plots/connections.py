"""Reports of which only the connections of their layers count."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st


def connected(layers: int, edges: Iterable[tuple[int, int]]) -> Any:
    """A report of so many layers with these edges; -1 is the input."""
    return SimpleNamespace(layers=[None] * layers, edges=tuple(edges))


@st.composite
def reports(draw: st.DrawFn) -> Any:
    """Any such report: of up to 12 layers, each behind up to four earlier ones."""
    count = draw(st.integers(1, 12))
    edges = {
        (source, target)
        for target in range(count)
        for source in draw(st.sets(st.integers(-1, target - 1), min_size=target == 0, max_size=4))
    }
    return connected(count, sorted(edges))
