"""Statistics of paired differences, against formulas and distributions worked out independently."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from dynpool.analysis.comparison.paired_tests import LEVEL, POWER, detectable_difference, holm, paired_test

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"


def test_the_figures_of_three_differences() -> None:
    found = paired_test([0.01, 0.02, 0.03], margin=0.05)
    assert found.n == 3
    assert found.mean == pytest.approx(0.02)
    assert found.std == pytest.approx(0.01)
    assert found.d_z == pytest.approx(2.0)
    half = 4.302653 * 0.01 / math.sqrt(3)  # the 97.5 % point of Student's t with 2 degrees of freedom
    assert found.low == pytest.approx(0.02 - half, abs=1e-7)
    assert found.high == pytest.approx(0.02 + half, abs=1e-7)
    # t = 0.02 / (0.01 / sqrt(3)) = 3.464; with 2 degrees of freedom P(|T| > t) = 1 - t / sqrt(t^2 + 2)
    t = 0.02 * math.sqrt(3) / 0.01
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2))
    t = (0.05 - 0.02) * math.sqrt(3) / 0.01  # the nearer of the two margins
    assert found.p_equivalence == pytest.approx((1 - t / math.sqrt(t * t + 2)) / 2)


@pytest.mark.parametrize("seed", range(20))
def test_both_tests_agree_with_the_intervals_they_belong_to(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, margin = int(generator.integers(2, 12)), 0.01
    one, other = generator.normal(0.7, 0.02, n), generator.normal(0.7, 0.02, n)
    other = one + generator.normal(generator.uniform(-0.02, 0.02), generator.uniform(0.001, 0.02), n)
    found = paired_test(list(other - one), margin)
    reference = scipy.stats.ttest_rel(other, one)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-6)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
    narrow = reference.confidence_interval(0.9)  # two one-sided tests at 5 % are the 90 % interval within the margin
    assert found.p_equivalence is not None
    assert (found.p_equivalence < 0.05) == (-margin < narrow.low and narrow.high < margin)
    assert (found.p is not None and found.p < 0.05) == (interval.low > 0 or interval.high < 0)


def test_one_difference_and_equal_ones_are_not_tested() -> None:
    assert (paired_test([0.1], 0.01).p, paired_test([0.1], 0.01).std) == (None, None)
    equal = paired_test([0.1, 0.1, 0.1], 0.01)
    assert equal.mean == pytest.approx(0.1)
    assert (equal.p, equal.p_equivalence, equal.low) == (None, None, None)


def test_holm_corrects_for_the_number_of_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize("n", [3, 5, 10, 20])
@pytest.mark.parametrize("comparisons", [1, 5])
def test_the_detectable_difference_is_detected_with_the_power_stated(n: int, comparisons: int) -> None:
    std = 0.013
    shift = detectable_difference(n, std, comparisons) * math.sqrt(n) / std
    critical = scipy.stats.t.ppf(1 - LEVEL / (2 * comparisons), n - 1)
    generator = np.random.default_rng(n + comparisons)
    runs = generator.normal(shift / math.sqrt(n), 1, (200_000, n))
    t = runs.mean(1) / runs.std(1, ddof=1) * math.sqrt(n)
    assert (np.abs(t) > critical).mean() == pytest.approx(POWER, abs=0.005)  # 5 standard errors
    power = scipy.stats.nct.sf(critical, n - 1, shift)
    if math.isfinite(power):
        assert power == pytest.approx(POWER, abs=1e-3)


def test_the_protocol_has_the_tables_of_these_differences() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PROTOCOL.read_text(), flags=re.MULTILINE)
    assert len(rows) >= 5
    for seeds, *differences in rows:
        expected = [detectable_difference(int(seeds), 1.0, comparisons) for comparisons in (1, 5, 10)]
        assert list(map(float, differences)) == pytest.approx(expected, abs=0.0051)
    needed = re.findall(r"^\| ([01]\.\d) \| (\d+) \| (\d+) \| (\d+) \|$", PROTOCOL.read_text(), flags=re.MULTILINE)
    assert len(needed) >= 5
    for std, *seeds in needed:
        for n, comparisons in zip(map(int, seeds), (1, 5, 10), strict=True):
            assert (
                detectable_difference(n, float(std), comparisons)
                <= 1
                < detectable_difference(n - 1, float(std), comparisons)
            )
