"""Networks that differ in their seed only, taken together: means and intervals of each layer, and of the tails."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..common.statistics import MeanStd, plural
from .findings import Findings
from .tail import TailOverRuns, tail_over_runs, with_interval

__all__ = ["LayerOverSeeds", "SeedSummary", "over_seeds", "said_layers", "seeds_csv"]


@dataclass(frozen=True)
class LayerOverSeeds:
    """One layer of networks that differ in their seed; None where nothing was measured.

    Attributes:
        name: of the layer.
        probe: accuracy of the probe.
        relative: accuracy of the probe / accuracy of the model.
        saturation: of the layer.
        r_min, r_max: mean over seeds of the field of its output, per axis, along the shortest and the longest path.
        unproductive: share of the networks in which the layer is unproductive.
    """

    name: str
    probe: MeanStd | None
    relative: MeanStd | None
    saturation: MeanStd | None
    r_min: tuple[float, ...] | None
    r_max: tuple[float, ...] | None
    unproductive: float


@dataclass(frozen=True)
class SeedSummary:
    """Networks of one design or method, over their seeds. `str()` gives sentences, `to_dict()` plain data.

    Attributes:
        name: of the method.
        networks: names of the networks.
        accuracy: of the models on held-out images.
        layers: those that all networks have, in the order of the first.
        count: number of layers that tails are counted over, of the first network.
        tails: numbers of layers, see `TailOverRuns`.
    """

    name: str
    networks: tuple[str, ...]
    accuracy: MeanStd | None
    layers: tuple[LayerOverSeeds, ...]
    count: int
    tails: TailOverRuns

    @property
    def observed(self) -> MeanStd | None:
        """Number of layers of the observed tail."""
        return _less(self.count, self.tails.solved)

    @property
    def predicted(self) -> MeanStd | None:
        """Number of layers of the tail that the receptive field predicts."""
        return _less(self.count, self.tails.border)

    @property
    def saturated(self) -> MeanStd | None:
        """Number of layers from which on the saturation stays low; 0 in a network where it does not."""
        return _less(self.count, self.tails.low_saturation)

    def __str__(self) -> str:
        said = [f"{self.name} ({plural(len(self.networks), 'seed')}): {self._said(self.predicted)} predicted"]
        if self.observed is not None:
            said.append(f"{self._said(self.observed)} observed")
        if self.saturated is not None:
            said.append(f"saturation stays low in the last {self._said(self.saturated)}")
        return f"{', '.join(said)} of {plural(self.count, 'layer')}"

    def _said(self, figure: MeanStd | None) -> str:
        return said_layers(figure, self.count)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data, with 95 % intervals of means by Student's t."""
        return {
            "name": self.name,
            "networks": list(self.networks),
            "accuracy": with_interval(self.accuracy),
            "layers_counted": self.count,
            "predicted_tail": with_interval(self.predicted),
            "observed_tail": with_interval(self.observed),
            "low_saturation_tail": with_interval(self.saturated),
            "tails": self.tails.to_dict(),
            "layers": [
                {
                    "name": layer.name,
                    **{key: with_interval(getattr(layer, key)) for key in MEANS},
                    "r_min": None if layer.r_min is None else list(layer.r_min),
                    "r_max": None if layer.r_max is None else list(layer.r_max),
                    "unproductive": layer.unproductive,
                }
                for layer in self.layers
            ],
        }


MEANS = ("probe", "relative", "saturation")


def said_layers(figure: MeanStd | None, count: int) -> str:
    """A mean number of layers with its 95 % interval as text: "3.5 (95 % interval 0.0 to 9.9)"; "-" for None.

    The interval is cut off at 0 and at `count`, the number of all layers.
    """
    if figure is None:
        return "-"
    between = figure.interval()
    mean = f"{figure.mean:.1f}".removesuffix(".0")
    if between is None or between[0] == between[1]:
        return mean
    return f"{mean} (95 % interval {max(between[0], 0):.1f} to {min(between[1], count):.1f})"


def _less(count: int, figure: MeanStd | None) -> MeanStd | None:
    return None if figure is None else MeanStd(count - figure.mean, figure.std, figure.n)


def over_seeds(reports: Mapping[str, Findings], name: str) -> SeedSummary:
    """Means over networks of one design that differ in their seed.

    Args:
        reports: by the name of the network, at least one.
        name: of the design or method.

    Raises:
        ValueError: if there is no report.
    """
    if not reports:
        raise ValueError("reports is empty: give at least one report by the name of its network")
    found = list(reports.values())
    rows = [{row.name: row for row in report.rows} for report in found]
    layers = []
    for layer in rows[0]:
        same = [each[layer] for each in rows if layer in each]
        if len(same) < len(rows):
            continue
        layers.append(
            LayerOverSeeds(
                name=layer,
                probe=MeanStd.from_values(None if row.probe is None else row.probe.accuracy for row in same),
                relative=MeanStd.from_values(row.relative for row in same),
                saturation=MeanStd.from_values(
                    None if row.saturation is None else row.saturation.share for row in same
                ),
                r_min=_mean([row.r_min for row in same]),
                r_max=_mean([row.r_max_local for row in same]),
                unproductive=sum(bool(row.unproductive) for row in same) / len(same),
            )
        )
    return SeedSummary(
        name=name,
        networks=tuple(reports),
        accuracy=MeanStd.from_values(report.accuracy for report in found),
        layers=tuple(layers),
        count=len(found[0].tail.layers),
        tails=tail_over_runs([report.tail for report in found], [report.border for report in found]),
    )


def _mean(fields: Sequence[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    known = [field for field in fields if field is not None]
    if len(known) < len(fields):
        return None
    return tuple(sum(axis) / len(axis) for axis in zip(*known, strict=True))


def seeds_csv(summaries: Sequence[SeedSummary]) -> str:
    """CSV text: a row per method and layer, with means, 95 % intervals and numbers of seeds."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    axes = max((len(x.r_min or ()) for s in summaries for x in s.layers), default=0)
    head = [f"{key}{end}" for key in MEANS for end in ("", "_low", "_high")]
    fields = [f"{key}_{axis}" for key in ("r_min", "r_max") for axis in range(axes)]
    writer.writerow(["method", "seeds", "layer", *head, *fields, "unproductive"])
    for summary in summaries:
        for layer in summary.layers:
            figures = [with_interval(getattr(layer, key)) or {} for key in MEANS]
            cells = [figure.get(key) for figure in figures for key in ("mean", "low", "high")]
            both = [value for field in (layer.r_min, layer.r_max) for value in field or [None] * axes]
            writer.writerow([summary.name, len(summary.networks), layer.name, *cells, *both, layer.unproductive])
    return text.getvalue()
