"""Means and intervals over seeds are those of the definition; figures that no network has are None."""

import csv
import io
from typing import Any

import numpy as np
import pytest
import scipy.stats

from dynpool.analysis.common.statistics import MeanStd
from dynpool.analysis.representations import over_seeds
from dynpool.analysis.representations.seed_summary import said_layers, seeds_csv
from tests.analysis.representations.reports import report
from tests.analysis.representations.small import row

FIELDS = ((1.0, 1.0), (5.0, 5.0), (12.0, 12.0), (20.0, 20.0))


def network(accuracies, shares, **changes):
    """Four layers, of which the last two are unproductive at 12 pixels."""
    rows = (
        row(name, r_min_in=field, accuracy=value, relative=value / 0.95, share=share)
        for name, field, value, share in zip("abcd", FIELDS, accuracies, shares, strict=True)
    )
    return report(*rows, **changes)


NETWORKS = {
    "one": network([0.5, 0.8, 0.9, 0.9], [0.8, 0.8, 0.2, 0.1], accuracy=0.95),
    "two": network([0.6, 0.9, 0.9, 0.9], [0.6, 0.6, 0.6, 0.6], accuracy=0.90),
    "three": network([0.7, 0.7, 0.8, 0.9], [0.9, 0.8, 0.3, 0.3], accuracy=0.85),
}


def test_layers_have_means_and_intervals_over_seeds():
    found = over_seeds(NETWORKS, "human")
    values = [0.5, 0.6, 0.7]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    layer: Any = found.layers[0]
    assert layer.probe.mean == pytest.approx(0.6)
    assert layer.probe.interval() == pytest.approx((low, high))
    assert layer.saturation.mean == pytest.approx((0.8 + 0.6 + 0.9) / 3)
    assert layer.relative.std == pytest.approx(np.std(values, ddof=1) / 0.95)
    assert (layer.r_min, found.layers[2].unproductive, layer.unproductive) == ((3.0, 3.0), 1.0, 0.0)
    plain = found.to_dict()
    assert plain["layers"][0]["probe"]["low"] == pytest.approx(low)
    assert plain["accuracy"]["mean"] == pytest.approx(0.9)


def test_tails_are_counted_in_layers():
    found: Any = over_seeds(NETWORKS, "human")
    assert found.count == 4
    assert found.predicted.mean == 2
    assert found.observed.mean == pytest.approx((1 + 2 + 0) / 3)
    assert found.saturated.mean == pytest.approx((2 + 0 + 2) / 3)  # of "two" it stays high
    assert str(found).startswith("human (3 seeds): 2 predicted, 1 (95 % interval 0.0 to 3.5) observed")
    assert found.to_dict()["observed_tail"]["n"] == 3


def test_one_network_has_no_interval():
    found: Any = over_seeds({"one": NETWORKS["one"]}, "human")
    assert found.layers[0].probe.interval() is None
    assert str(found) == "human (1 seed): 2 predicted, 1 observed, saturation stays low in the last 2 of 4 layers"


def test_what_was_not_measured_is_none():
    found = over_seeds({"a": report(row("a", accuracy=None, share=None, r_min_in=None))}, "x")
    assert (found.layers[0].probe, found.layers[0].saturation, found.layers[0].r_min) == (None, None, None)
    assert (found.observed, found.saturated, said_layers(found.observed, 1)) == (None, None, "-")


def test_layers_that_not_all_networks_have_are_left_out():
    found = over_seeds({"a": report(row("a"), row("b")), "b": report(row("b"))}, "x")
    assert [layer.name for layer in found.layers] == ["b"]


def test_intervals_of_layers_end_at_none_and_all():
    assert said_layers(MeanStd(2.5, 0.7, 2), 4) == "2.5 (95 % interval 0.0 to 4.0)"
    assert said_layers(MeanStd(3.0, 0.0, 2), 4) == "3"


def test_the_table_has_a_row_per_design_and_layer():
    text = seeds_csv([over_seeds(NETWORKS, "human"), over_seeds({"one": NETWORKS["one"]}, "other")])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["method"], r["seeds"], r["layer"]) for r in rows] == [
        *(("human", "3", name) for name in "abcd"), *(("other", "1", name) for name in "abcd"),
    ]  # fmt: skip
    assert float(rows[0]["probe"]) == pytest.approx(0.6)
    assert (rows[4]["probe_low"], rows[0]["r_min_0"], rows[0]["unproductive"]) == ("", "3.0", "0.0")


def test_no_report_is_refused():
    with pytest.raises(ValueError, match="reports is empty"):
        over_seeds({}, "human")
