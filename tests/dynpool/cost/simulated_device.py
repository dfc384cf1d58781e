"""A device whose operations take time in exact proportion to their work."""

from typing import Any

import pytest

from dynpool.cost.latency import LatencyModel

MACS = 1e-9  # seconds per MAC
ELEMENT, PASS = 1e-8, 2e-3  # seconds per element, and of a pass besides its layers


def seconds_per_work(op: str) -> float:
    return MACS if "conv" in op or "mm" in op else ELEMENT


def simulate(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let LatencyModel measure on that device, where a whole pass takes twice its layers; lists the passes measured."""
    passes, counted = LatencyModel._passes, []

    def simulated(self: LatencyModel, *args: Any, **options: Any) -> Any:
        self.repeats = 0
        found = passes(self, *args, **options)
        counted.append(len(found))
        for one in found:
            took = {}
            for (path, op), amounts in self._amounts.items():
                sizes = self.cost.axis_sizes(self.cost.graph, one.alphas)
                took[path, op] = seconds_per_work(op) * work(self.cost.graph, sizes, amounts)
            one.clocks.append(took)
            one.wholes.append(2 * sum(took.values()) + PASS)
        return found

    monkeypatch.setattr(LatencyModel, "_passes", simulated)
    return counted


def work(graph: Any, sizes: Any, amounts: Any) -> float:
    total = 0.0
    for amount, axes in amounts:
        for axis, traced in axes:
            root = graph.classes.find(axis)
            amount *= sizes.get(root, traced) / traced
        total += amount
    return total
