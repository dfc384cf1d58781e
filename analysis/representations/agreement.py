"""Does the receptive field predict the tail? One point per network, and their rank correlation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dynpool.common.extras import optional

from ..common.colors import DYNOPOOL, HUMAN, OTHERS
from ..common.statistics import plural
from ..common.style import INK, NORMAL, WIDTH, plain, short, styled
from .findings import Findings

__all__ = ["Agreement", "AgreementPoint", "tail_agreement"]

LEVEL = 0.95
RESAMPLES = 2000
ASIDE = 6.0  # percent, over which designs are put side by side
COLORS = (HUMAN, DYNOPOOL, *OTHERS)
MOST_NAMED = 8  # designs
FEWEST = 5  # networks, of which a rank correlation says something


@dataclass(frozen=True)
class AgreementPoint:
    """A network: how many of its layers are in the tail, as a share of those with a receptive field.

    Attributes:
        name: of the network.
        predicted: share of layers from the border layer on: their input sees the whole image along the shortest path.
        observed: share of layers after the one that completes the solution.
        layers: number of layers with a local receptive field.
        design: the design or method that the network is of; its name, unless told otherwise.
    """

    name: str
    predicted: float
    observed: float
    layers: int
    design: str = ""


@dataclass(frozen=True)
class Agreement:
    """Predicted against observed tails.

    Attributes:
        points: one per network.
        correlation: Spearman's rank correlation; None for fewer than five networks, or if either share never differs.
        low, high: its 95 % confidence interval, by bootstrap (percentiles); None where there is none.
        designs: number of designs or methods that the networks are of; the bootstrap draws designs with all their
            networks if there are five or more, else networks.
        left_out: names of networks without a point.
    """

    points: tuple[AgreementPoint, ...]
    correlation: float | None
    low: float | None
    high: float | None
    designs: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        """What the points show, and what they do not, in sentences; empty without points."""
        if not self.points:
            return ""
        said = []
        for words, found in (
            ("Receptive fields predict no tail", [p for p in self.points if not p.predicted]),
            ("Receptive fields predict a tail", [p for p in self.points if p.predicted]),
        ):
            if found:
                without = sum(not point.observed for point in found)
                have = f"{without} {'has' if without == 1 else 'have'} none"
                mean = 100 * sum(point.observed for point in found) / len(found)
                said.append(
                    f"{words} in {plural(len(found), 'network')}, of which {have}; on average {mean:.0f} % of their "
                    "layers are in the observed one."
                )
        if self.low is not None:
            unit = "designs with their seeds" if self.designs >= FEWEST else "networks"
            said.append(f"The interval is by bootstrap over {unit}.")
        if self.designs < len(self.points):
            said.append(
                f"The networks are of {plural(self.designs, 'design')}: seeds of one design are much "
                "alike, and no independent test."
            )
        if self.left_out:
            said.append(
                f"Left out, as most of their layers lie behind a global operation or have no probe: "
                f"{', '.join(self.left_out)}."
            )
        said.append("A correlation over these networks says nothing about others, nor that fields cause tails.")
        return " ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """The agreement as plain data."""
        return asdict(self) | {"detail": self.detail}

    def __str__(self) -> str:
        networks = plural(len(self.points), "network")
        if self.correlation is None:
            few = len(self.points) < FEWEST
            return f"{networks}: {'too few' if few else 'tails that do not differ'}, no rank correlation"
        between = "" if self.low is None else f", 95 % interval {self.low:+.2f} to {self.high:+.2f}"
        said = f"{networks}: rank correlation of predicted and observed tails {self.correlation:+.2f}{between}"
        if self.low is not None and self.high is not None and self.low <= 0 <= self.high:
            return f"{said}, which does not exclude zero"
        return said

    def plot(self) -> Figure:
        """Observed against predicted share of layers in the tail, a point per network, a colour per design.

        Designs are moved aside by up to three percent, so that no point hides another's.
        """
        figure = Figure(figsize=(WIDTH * 0.6, WIDTH * 0.5), layout="constrained")
        axes = styled(figure.add_subplot(), "predicted share of layers in the tail (%)", "observed (%)")
        axes.plot([0, 100], [0, 100], color=INK, lw=1.0, ls=(0, (4, 2)), zorder=1)
        designs = list(dict.fromkeys(point.design for point in self.points))
        for number, design in enumerate(designs):
            found = [point for point in self.points if point.design == design]
            aside = ASIDE * (number - (len(designs) - 1) / 2) / len(designs)
            axes.plot(
                [100 * point.predicted + aside for point in found], [100 * point.observed for point in found],
                "os^Dv<>p"[number % 8], ms=6.5, color=COLORS[number % len(COLORS)], alpha=0.75, mec="white", mew=0.6,
                zorder=3, label=plain(short(design, 36)),
            )  # fmt: skip
        if len(designs) <= MOST_NAMED:
            axes.legend(fontsize=NORMAL - 2, loc="upper left", frameon=False, handletextpad=0.2)
        axes.set_xlim(-5, 105)
        axes.set_ylim(-5, 105)
        return figure


def tail_agreement(reports: Mapping[str, Findings], designs: Mapping[str, str] | None = None) -> Agreement:
    """The shares of layers in the predicted and in the observed tail, and their rank correlation.

    Args:
        reports: by the name of the network; those without probes, or most of whose layers lie behind a global operation
            and have no local receptive field, are left out.
        designs: {network: its design or method}, the same for networks that differ in their seed; None: each is its
            own.
    """
    points, named, left_out = [], [], []
    for name, report in reports.items():
        tail, border = report.tail, report.border.r_min
        if tail.solved is None or 2 * sum(row.is_local for row in report.rows) < len(report.rows):
            left_out.append(name)
            continue
        count = len(tail.layers)
        predicted = count - tail.index(border if border in tail.layers else None)
        design = name if designs is None else designs[name]
        points.append(AgreementPoint(name, predicted / count, len(tail.tail) / count, count, design))
        named.append(design)
    pairs = np.array([(point.predicted, point.observed) for point in points]).reshape(-1, 2)
    correlation = _rank_correlation(pairs) if len(pairs) >= FEWEST else None
    low = high = None
    if correlation is not None:
        generator = np.random.default_rng(0)
        units = [[k] for k in range(len(pairs))]
        if len(set(named)) >= FEWEST:
            units = [[k for k, other in enumerate(named) if other == name] for name in dict.fromkeys(named)]
        draws = (generator.integers(len(units), size=len(units)) for _ in range(RESAMPLES))
        drawn = (pairs[[k for unit in draw for k in units[unit]]] for draw in draws)
        found = [value for value in map(_rank_correlation, drawn) if value is not None]
        if found:
            low, high = (float(v) for v in np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Agreement(tuple(points), correlation, low, high, len(set(named)), tuple(left_out))


def _rank_correlation(pairs: np.ndarray) -> float | None:
    """Spearman's rank correlation, with mean ranks of ties; None if a side is constant."""
    with optional():
        from scipy.stats import rankdata

    x, y = rankdata(pairs[:, 0]), rankdata(pairs[:, 1])
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
