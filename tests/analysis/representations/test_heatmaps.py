"""A heat map is a probe at each position."""

import numpy as np
import pytest

from dynpool.analysis.representations import fit_probe
from dynpool.analysis.representations.heatmaps import heat_map


def maps(seed, images=60):
    """Noise with the class at position (1, 2)."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    found = generator.normal(size=(images, 3, 2, 4))
    found[:, 0, 1, 2] += 10 * labels
    return found, labels


def test_each_position_is_a_probe_on_its_channels():
    (x, y), (u, v), done = maps(0), maps(1), []
    found = heat_map("a", (2, 4), x, y, u, v, done=lambda: done.append(1))
    assert found.accuracy[1][2] == 1.0
    assert max(value for row in found.accuracy for value in row if value < 1) < 0.8
    for at in np.ndindex(2, 4):
        probe = fit_probe(x[(..., *at)], y, u[(..., *at)], v)
        assert found.accuracy[at[0]][at[1]] == probe.accuracy
    assert (found.positions, found.converged, len(done)) == (8, 8, 8)
    assert found.to_dict() == {
        "name": "a", "size": [2, 4], "accuracy": [list(row) for row in found.accuracy], "positions": 8, "converged": 8,
    }  # fmt: skip


def test_probes_that_do_not_converge_are_counted():
    (x, y), (u, v) = maps(0), maps(1)
    assert heat_map("a", (2, 4), x, y, u, v, iterations=1).converged < 8


def test_maps_that_do_not_match():
    (x, y), (u, v) = maps(0), maps(1)
    with pytest.raises(ValueError, match="maps must be"):
        heat_map("a", (2, 4), x, y, u[:, :, :1], v)
