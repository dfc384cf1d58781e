"""Statistics of differences between two methods that were trained with the same seeds.

Runs of one seed share their initial weights, data order and augmentation, so differences are taken seed by seed.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats

__all__ = ["LEVEL", "POWER", "PairedTest", "detectable_difference", "holm", "paired_test"]

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class PairedTest:
    """The mean of paired differences and two tests of it; all in the unit of the differences.

    Attributes:
        n: number of pairs.
        mean: mean difference.
        std: sample standard deviation of the differences; None for a single one.
        low, high: 95 % confidence interval of the mean.
        d_z: effect size: mean / std.
        p: two-sided p value of a paired t-test for a mean of zero.
        p_equivalence: p value of two one-sided paired t-tests for a mean outside -margin to margin.

    `low` to `p_equivalence` are None for a single difference, and if all differences are equal.
    """

    n: int
    mean: float
    std: float | None
    low: float | None = None
    high: float | None = None
    d_z: float | None = None
    p: float | None = None
    p_equivalence: float | None = None


def paired_test(differences: Sequence[float], margin: float) -> PairedTest:
    """The paired t-test of differences, at least one, and the test of their equivalence to zero within `margin`."""
    n, mean = len(differences), statistics.fmean(differences)
    if n < 2:
        return PairedTest(n, mean, None)
    std = statistics.stdev(differences)
    if max(differences) - min(differences) < 1e-9:  # equal up to rounding
        return PairedTest(n, mean, std)
    test = scipy.stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(1 - LEVEL)
    above = scipy.stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(differences, margin, alternative="less").pvalue
    low, high = float(interval.low), float(interval.high)
    return PairedTest(n, mean, std, low, high, mean / std, float(test.pvalue), float(max(above, below)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values after Holm's step-down correction for multiple comparisons, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected


def detectable_difference(n: int, std: float, comparisons: int = 1) -> float:
    """The mean difference that a paired t-test finds with a power of 80 %, at a level of 5 % over all comparisons.

    That is the one at which |T| exceeds t(1 - 0.05 / (2 m), n - 1) with that probability, where T has the noncentral t
    distribution with n - 1 degrees of freedom and noncentrality difference * sqrt(n) / std.

    Args:
        n: number of pairs, at least 2.
        std: standard deviation of the differences.
        comparisons: number m of tests that are corrected for, as the first step of Holm's method does.
    """
    return _detectable_shift(n, comparisons) * std / math.sqrt(n)


@functools.lru_cache
def _detectable_shift(n: int, comparisons: int) -> float:
    """The noncentrality at which the power is 80 %.

    Given the estimated spread, T is normal; the mean over the spread's chi distribution is taken at 2000 quantiles, as
    scipy.stats.nct gives NaN for large values.
    """
    critical = scipy.stats.t.ppf(1 - LEVEL / (2 * comparisons), n - 1)
    spreads = np.sqrt(scipy.stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, n - 1) / (n - 1))

    def missing(shift: float) -> float:
        found = scipy.stats.norm.cdf(shift - critical * spreads) + scipy.stats.norm.cdf(-shift - critical * spreads)
        return float(found.mean()) - POWER

    return float(scipy.optimize.brentq(missing, 0.0, 3 * critical + 10))
