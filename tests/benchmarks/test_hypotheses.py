"""The answers to the protocol's hypotheses follow its rules."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from benchmarks.hypotheses import (
    IMAGES,
    answer,
    answers_plot,
    answers_table,
    missed_table,
    pairs_of,
    recovers,
    shapes_plot,
    shapes_table,
)
from dynpool.analysis.comparison.paired_tests import PairedTest
from dynpool.analysis.comparison.pairs import PairRow


def pair(mean, verdict="", group="dynopool", baseline="human", seeds=5):
    """A pair that differs by `mean` points, with the verdict of the tests."""
    return PairRow(
        group=group,
        baseline=baseline,
        test=PairedTest(seeds, mean / 100, 0.01, (mean - 1) / 100, (mean + 1) / 100, mean, 0.5, 0.5),
        p_corrected=0.01 if "decided" in verdict else 0.5,
        p_equivalence_corrected=0.01 if "equivalent" in verdict else 0.5,
        margin=0.02,
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
        (pair(5.0, "decided", seeds=4), "open"),
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
        (pair(0.1, "equivalent", seeds=4), pair(2.0, "decided"), "open"),
        (pair(0.1, "equivalent"), pair(2.0, "decided", seeds=4), "open"),
    ],
)
def test_recovery_from_a_bad_start(from_designed, from_random, expected):
    assert recovers(from_designed, from_random) == expected


DESIGNED, DRAWN = "dynopool start=designed", "dynopool start=random"
RECOVERY = [
    pair(3.0, "decided", DRAWN, "random gmacs_budget=match:dynopool start=random"),
    pair(-0.2, "equivalent", DRAWN, DESIGNED),
]


def comparisons(*more) -> Any:
    controls = [
        pair(2.8, "decided", DESIGNED, "human"),
        pair(-0.5, "", DESIGNED, "scaled"),
        pair(0.2, "equivalent", DESIGNED, "random gmacs_budget=match:dynopool start=designed"),
        *RECOVERY,
        pair(-0.7, "decided", DESIGNED, "resized"),
        pair(9.0, "decided", DESIGNED, "fixed"),
        replace(pair(9.0), test=None),
        *more,
    ]
    budget = pair(1.5, "decided", "dynopool gmacs_budget=0.00125 alpha_until=0.5", "scaled gmacs_budget=0.00125")
    rows = [SimpleNamespace(group="scaled", seed=k, off_budget=off) for k, off in enumerate((None, 0.02, -0.031, 0.04))]
    first, second, *_ = IMAGES
    return {
        second: SimpleNamespace(pairs=[budget], rows=rows[:2]),
        first: SimpleNamespace(pairs=controls, rows=rows),
        "digits-kernels": SimpleNamespace(pairs=[pair(9.0, "decided")], rows=rows),
    }


def test_table_of_answers():
    first, second, *_ = IMAGES.values()
    head, _, controls, budget = answers_table(comparisons()).splitlines()
    assert head.startswith("| images | method | H1: beat the designed ones | H2: ")
    cells = ["**yes** (+2.8)", "open (−0.5)", "**no** (+0.2)", "**yes** (−0.2, +3.0)", "**no** (−0.7)"]
    assert controls == f"| {first} | dynopool | {' | '.join(cells)} |"
    assert budget == f"| {second} | dynopool at 1.25 MMACs | - | **yes** (+1.5) | - | - | - |"


def test_one_pair_for_each_hypothesis():
    with pytest.raises(ValueError, match="H1: 2 pairs for the same images and method"):
        answers_table(comparisons(pair(0.1, "equivalent", "dynopool alpha_until=0.5", "human")))
    with pytest.raises(ValueError, match="H4: 3 pairs"):
        answers_table(comparisons(RECOVERY[0]))


def test_runs_that_miss_their_cost():
    first, _ = list(IMAGES)[:2]
    assert missed_table(comparisons()).splitlines()[2:] == [
        f"| {first} | scaled, seed 2 (−3.1 %); scaled, seed 3 (+4.0 %) |"
    ]


def test_plot_of_a_hypothesis_has_a_line_per_pair():
    first, second, *_ = IMAGES.values()
    axes = answers_plot(comparisons(), "H2").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        f"{first}: dynopool",
        f"{second}: dynopool at 1.25 MMACs",
    ]
    assert axes.get_xlabel().startswith("difference in test accuracy")
    labels = [row.label for row in pairs_of(comparisons()) if row.hypothesis == "H4"]
    assert labels == [
        f"{first}: dynopool from random sizes against random sizes at rest",
        f"{first}: dynopool from random sizes against designed sizes",
    ]


def test_shapes_of_runs_from_the_designed_sizes():
    def variant(*ratios: float) -> Any:
        rows = [SimpleNamespace(group=DESIGNED, seed=k, i_min=(10 * r, 10)) for k, r in enumerate(ratios)]
        return SimpleNamespace(rows=[*rows, SimpleNamespace(group=DRAWN, seed=0, i_min=(99, 1))])

    variants = {"plain": variant(1.0, 1.1, 0.9), "tall": variant(1.2, 1.4, 1.9)}
    _, tall = shapes_table(variants).splitlines()[2:]
    low, high = scipy.stats.ttest_1samp((1.2, 1.4, 1.9), 0).confidence_interval(0.95)
    assert tall.startswith(f"| tall | 3 | 1.50 | {low:.2f} to {high:.2f} |")
    axes = shapes_plot(variants).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["plain", "tall"]
    interval, seeds, mean, one = (list(np.asarray(line.get_xdata())) for line in axes.lines[3:])
    assert np.allclose(seeds, [1.2, 1.4, 1.9])
    assert np.allclose(mean, 1.5)
    assert np.allclose(interval, [low, high])
    assert one == [1, 1]
