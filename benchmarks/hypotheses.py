"""The hypotheses of docs/protocol.md and what the comparisons answer, by its rules (*What counts as "no"*)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from dynpool.analysis import Comparison
from dynpool.analysis.common.colors import DYNOPOOL
from dynpool.analysis.common.style import INK, WIDTH, styled
from dynpool.analysis.comparison.findings import missed_budgets
from dynpool.analysis.comparison.paired_tests import PairedTest, paired_test
from dynpool.analysis.comparison.pairs import PairRow, signed
from dynpool.analysis.comparison.plots import plot_pairs

HYPOTHESES = {
    "H1": "beat the designed ones",
    "H2": "beat scaled ones at equal GMACs",
    "H3": "beat random ones at equal GMACs",
    "H4": "recover from a bad start",
    "H6": "beat the design on resized images",
}  # H5 is about shapes, not accuracy: see `shapes_table`
IMAGES = {  # of the comparisons that test hypotheses
    "digits-controls-plain": "plain digits",
    "digits-controls-large": "large digits",
    "digits-controls-stretch": "stretched digits",
    "digits-controls-tile": "tiled digits",
    "digits-controls-canvas": "digits on a canvas",
    "cifar10-narrow": "CIFAR-10, VGG",
    "cifar10-small-resnet": "CIFAR-10, ResNet",
    "digits-budgets": "digits on a canvas",
    "digits-others-plain": "plain digits",
    "digits-others-stretch": "stretched digits",
    "digits-others-canvas": "digits on a canvas",
    "cifar10-others": "CIFAR-10, VGG",
    "cifar10-diffstride": "CIFAR-10, VGG",
    "cifar10-small-resnet-others": "CIFAR-10, ResNet",
}
SEEDS, WORTH = 5, 0.01  # seeds of an answer; the smallest difference worth finding
BASELINES = {"human": "H1", "scaled": "H2", "random": "H3", "dynopool": "H4", "resized": "H6"}


@dataclass(frozen=True)
class Tested:
    """A pair that tests a hypothesis.

    Attributes:
        hypothesis: 'H1', ...
        images: the images and the network.
        method: what learned its sizes, or 'refine', with its budget if it has one.
        pair: the pair.
    """

    hypothesis: str
    images: str
    method: str
    pair: PairRow

    @property
    def label(self) -> str:
        """The line of a plot."""
        if self.hypothesis != "H4":
            return f"{self.images}: {self.method}"
        baseline = "designed sizes" if self.pair.baseline.startswith(self.method) else "random sizes at rest"
        return f"{self.images}: {self.method} from random sizes against {baseline}"


def pairs_of(comparisons: Mapping[str, Comparison]) -> list[Tested]:
    """The pairs of the comparisons, by name, that test a hypothesis, in the order of `IMAGES`."""
    found = []
    for name, images in IMAGES.items():
        for pair in comparisons[name].pairs if name in comparisons else ():
            hypothesis = BASELINES.get(pair.baseline.split()[0])
            if hypothesis is not None and pair.test is not None:
                hypothesis = "H4" if pair.group.endswith("start=random") else hypothesis
                found.append(Tested(hypothesis, images, _method(pair), pair))
    return found


def _method(pair: PairRow) -> str:
    """The method, with its budget in MMACs."""
    budget = re.search(r" gmacs_budget=([\d.e-]+)", pair.group)
    return pair.group.split()[0] + (f" at {1e3 * float(budget[1]):g} MMACs" if budget else "")


def answer(pair: PairRow) -> str:
    """'yes', 'yes, but too little to matter', 'no' or 'open', of H1, H2, H3 and H6.

    Open without all seeds: a run that diverged has no rows.
    """
    if pair.test is None or pair.test.n < SEEDS:
        return "open"
    if pair.better:
        return "yes" if pair.test.mean >= WORTH else "yes, but too little to matter"
    return "no" if pair.better is False or pair.equivalent else "open"


def recovers(from_designed: PairRow, from_random: PairRow) -> str:
    """'yes', 'no' or 'open', of H4.

    Args:
        from_designed: runs from random sizes against those from designed ones.
        from_random: runs from random sizes against random sizes of their cost.
    """
    if any(pair.test is None or pair.test.n < SEEDS for pair in (from_designed, from_random)):
        return "open"
    if from_designed.better is False or from_random.better is False or from_random.equivalent:
        return "no"
    return "yes" if from_random.better and (from_designed.better or from_designed.equivalent) else "open"


def answers_table(comparisons: Mapping[str, Comparison]) -> str:
    """A line per images and method, a column per hypothesis: its answer and the difference in points.

    Raises:
        ValueError: if two pairs test one hypothesis for the same images and method, or one half of H4 is missing.
    """
    tested = pairs_of(comparisons)
    lines = [["images", "method", *(f"{name}: {text}" for name, text in HYPOTHESES.items())]]
    lines.append(["---"] * len(lines[0]))
    for images, method in dict.fromkeys((row.images, row.method) for row in tested):
        mine = [row for row in tested if (row.images, row.method) == (images, method)]
        cells = [_cell(name, [row.pair for row in mine if row.hypothesis == name]) for name in HYPOTHESES]
        lines.append([images, method, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(hypothesis: str, pairs: Sequence[PairRow]) -> str:
    if not pairs:
        return "-"
    if len(pairs) != (2 if hypothesis == "H4" else 1):
        raise ValueError(f"{hypothesis}: {len(pairs)} pairs for the same images and method: {[p.group for p in pairs]}")
    if hypothesis == "H4":
        pairs = sorted(pairs, key=lambda pair: pair.baseline.startswith("random"))
        word = recovers(*pairs)
    else:
        word = answer(pairs[0])
    means = ", ".join(signed(100 * pair.test.mean) for pair in pairs if pair.test is not None)
    return f"{word if word == 'open' else f'**{word}**'} ({means})"


def missed_table(comparisons: Mapping[str, Comparison]) -> str:
    """The runs that miss the cost that they are held to by more than 2 %, by comparison."""
    lines = ["| comparison | runs that miss their cost |", "| --- | --- |"]
    for name in IMAGES:
        rows = comparisons[name].rows if name in comparisons else ()
        missed = [f"{row.group}, seed {row.seed} ({signed(100 * off)} %)" for row, off in missed_budgets(rows)]
        if missed:
            lines.append(f"| {name} | {'; '.join(missed)} |")
    return "\n".join(lines)


def answers_plot(comparisons: Mapping[str, Comparison], hypothesis: str) -> Figure:
    """The differences of all pairs that test one of `HYPOTHESES`, with their intervals."""
    rows = [row for row in pairs_of(comparisons) if row.hypothesis == hypothesis]
    return plot_pairs({row.label: row.pair for row in rows}, "test accuracy")


# ------------------------------------------------------------------------------------------ H5: the shape of I_min


def _shapes(comparisons: Mapping[str, Comparison]) -> dict[str, dict[int, float]]:
    """Height / width of I_min of DynOPool from the designed sizes, by seed, for each variant of the images."""
    return {
        variant: {row.seed: row.i_min[0] / row.i_min[1] for row in found.rows if row.group == "dynopool start=designed"}
        for variant, found in comparisons.items()
    }


def _against_one(ratios: Mapping[int, float]) -> PairedTest:
    return paired_test([ratio - 1 for ratio in ratios.values()], 0.05)


def shapes_table(comparisons: Mapping[str, Comparison]) -> str:
    """Height / width of I_min for each variant of the images, and its tests.

    p of two-sided paired t-tests over the seeds: against 1, and against the plain images.
    """
    ratios = _shapes(comparisons)
    head = ["images", "seeds", "height / width", "95 % interval", "p against 1", "less plain", "p against plain"]
    lines = [head, ["---", *["---:"] * 6]]
    plain = ratios.get("plain", {})
    for variant, found in ratios.items():
        shared = [] if variant == "plain" else [found[seed] - plain[seed] for seed in found.keys() & plain.keys()]
        own, less = _against_one(found), paired_test(shared or [0.0], 0.05)
        interval = "-" if own.low is None or own.high is None else f"{1 + own.low:.2f} to {1 + own.high:.2f}"
        cells = [variant, str(own.n), f"{1 + own.mean:.2f}", interval, _p(own.p)]
        lines.append([*cells, f"{less.mean:+.2f}" if shared else "-", _p(less.p) if shared else "-"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def shapes_plot(comparisons: Mapping[str, Comparison]) -> Figure:
    """Height / width of I_min for each variant of the images: every seed, the mean and its 95 % interval."""
    ratios = _shapes(comparisons)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.35 * len(ratios)), layout="constrained")
    axes = styled(figure.add_subplot(), "I_min, height / width: every seed, mean and 95 % interval", "")
    for y, found in enumerate(ratios.values()):
        test = _against_one(found)
        if test.low is not None and test.high is not None:
            axes.plot([1 + test.low, 1 + test.high], [y, y], color=DYNOPOOL, lw=2.4, solid_capstyle="butt")
        axes.plot(list(found.values()), [y] * len(found), "|", ms=11, color=INK)
        axes.plot(1 + test.mean, y, "o", ms=9, color=DYNOPOOL, mec="white")
    axes.axvline(1, color=INK, lw=1, zorder=0.8)
    axes.set(ylim=(len(ratios) - 0.5, -0.5))
    axes.set_yticks(range(len(ratios)), list(ratios))
    return figure
