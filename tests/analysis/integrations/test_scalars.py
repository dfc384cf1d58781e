"""A line of the log as scalars: named by axis, infinite values left out."""

import math

from dynpool.analysis.integrations.loop import LoopTracker
from dynpool.analysis.integrations.scalars import scalars

SIZE = (3, 16, 12)


def test_infinite_values_are_no_scalars(network, tmp_path):
    record = LoopTracker(SIZE, tmp_path / "log").start(network, 0, log=True)
    assert record is not None
    named = scalars(record)
    assert named["i_min/height"] == 8.0
    assert named["alpha/2/width"] == 2.0
    assert named["size/2/height"] == 8.0
    assert "i_max/height" not in scalars(record | {"i_max": [math.inf, 9.0]})
    assert scalars(record | {"i_max": [math.inf, 9.0]})["i_max/width"] == 9.0
