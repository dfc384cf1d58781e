"""Pictures of segmentation: every group has a row of predictions, and fields stand where they belong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynpool.analysis.comparison.examples import Examples
from dynpool.analysis.comparison.read_runs import Run
from tests.analysis.comparison.plots.drawn import runs_of

RUNS = Path(__file__).parents[1] / "golden"


@pytest.fixture
def runs(write_run):
    masks = np.zeros((3, 8, 8), dtype=np.uint8)
    masks[:, 2:4, 2:6] = 1
    masks[:, 0] = 255
    examples = Examples(
        images=np.full((3, 1, 8, 8), 90, dtype=np.uint8),
        masks=masks,
        predicted=np.where(masks == 255, 0, masks),
        classes=("background", "bar"),
        objects=np.array([[2, 4]] * 10),
        fields=np.array([[8.0, 8, 3, 3, 5, 5], [4.0, 4, 6, 6, np.inf, np.inf]]),
    )
    found: tuple[Run, ...] = runs_of(write_run("human"), write_run("dynopool"))
    return [replace(run, examples=examples) for run in found]
