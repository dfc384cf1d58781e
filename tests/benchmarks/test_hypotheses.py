"""The answers to the protocol's hypotheses follow its rules."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.hypotheses import IMAGES, answer, answers_plot, answers_table, pairs_of, recovers, shapes_plot
from dynpool.analysis.comparison.paired_tests import PairedTest
from dynpool.analysis.comparison.pairs import PairRow


def pair(mean, verdict="", group="dynopool", baseline="human"):
    """A pair that differs by `mean` points, with the verdict of the tests."""
    return PairRow(
        group=group,
        baseline=baseline,
        test=PairedTest(5, mean / 100, 0.01, (mean - 1) / 100, (mean + 1) / 100, mean, 0.5, 0.5),
        p_corrected=0.01 if "decided" in verdict else 0.5,
        p_equivalence_corrected=0.01 if "equivalent" in verdict else 0.5,
        margin=0.01,
        detectable=0.02,
        gmacs_ratio=1.0,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (pair(1.0, "decided"), "yes"),
        (pair(0.9, "decided"), "yes, but too little to matter"),
        (pair(0.3, "decided, equivalent"), "yes, but too little to matter"),
        (pair(-0.3, "decided, equivalent"), "no"),
        (pair(-2.0, "decided"), "no"),
        (pair(0.4, "equivalent"), "no"),
        (pair(5.0), "open"),
    ],
)
def test_answers(found, expected):
    assert answer(found) == expected


@pytest.mark.parametrize(
    ("from_designed", "from_random", "expected"),
    [
        (pair(0.1, "equivalent"), pair(2.0, "decided"), "yes"),
        (pair(2.0, "decided"), pair(2.0, "decided"), "yes"),
        (pair(0.1), pair(2.0, "decided"), "open"),
        (pair(0.1, "equivalent"), pair(2.0), "open"),
        (pair(-2.0, "decided"), pair(2.0, "decided"), "no"),
        (pair(0.1, "equivalent"), pair(0.1, "equivalent"), "no"),
        (pair(0.1, "equivalent"), pair(-2.0, "decided"), "no"),
    ],
)
def test_recovery_from_a_bad_start(from_designed, from_random, expected):
    assert recovers(from_designed, from_random) == expected


def comparisons() -> Any:
    designed, drawn = "dynopool start=designed", "dynopool start=random"
    controls = [
        pair(2.8, "decided", designed, "human"),
        pair(-0.5, "", designed, "scaled"),
        pair(0.2, "equivalent", designed, "random gmacs_budget=match:dynopool start=designed"),
        pair(-0.2, "equivalent", drawn, designed),
        pair(3.0, "decided", drawn, "random gmacs_budget=match:dynopool start=random"),
    ]
    budget = pair(1.5, "decided", "dynopool gmacs_budget=0.00125", "scaled gmacs_budget=0.00125")
    first, second, *_ = IMAGES
    return {second: SimpleNamespace(pairs=[budget]), first: SimpleNamespace(pairs=controls)}


def test_table_of_answers():
    first, second, *_ = IMAGES.values()
    head, _, controls, budget = answers_table(comparisons()).splitlines()
    assert head.startswith("| images | method | H1: beat the designed ones | H2: ")
    assert (
        controls == f"| {first} | dynopool | **yes** (+2.8) | open (−0.5) | **no** (+0.2) | **yes** (−0.2, +3.0) | - |"
    )
    assert budget == f"| {second} | dynopool at 1.25 MMACs | - | **yes** (+1.5) | - | - | - |"


def test_plot_of_a_hypothesis_has_a_line_per_pair():
    first, second, *_ = IMAGES.values()
    axes = answers_plot(comparisons(), "H2").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        f"{first}: dynopool", f"{second}: dynopool at 1.25 MMACs",
    ]  # fmt: skip
    labels = [row.label for row in pairs_of(comparisons()) if row.hypothesis == "H4"]
    assert labels == [
        f"{first}: dynopool from random sizes against designed sizes",
        f"{first}: dynopool from random sizes against random sizes at rest",
    ]


def test_plot_of_shapes_has_every_seed_and_the_mean():
    rows = [
        SimpleNamespace(group="dynopool start=designed", seed=seed, i_min=(ratio * 10, 10))
        for seed, ratio in enumerate((1.2, 1.4, 1.9))
    ]
    tall: Any = SimpleNamespace(rows=rows)
    interval, seeds, mean, one = (
        list(np.asarray(line.get_xdata())) for line in shapes_plot({"tall": tall}).axes[0].lines
    )
    assert seeds == [1.2, 1.4, 1.9]
    assert math.isclose(mean[0], 1.5)
    assert math.isclose(sum(interval) / 2, 1.5)
    assert one == [1, 1]
