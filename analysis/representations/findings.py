"""What `inspect` finds: the layers, the observed tail and the predicted border, and a sentence on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..common.axis_names import one_or_all
from .heatmaps import HeatMap
from .row import InspectionRow
from .tail import Border, Tail

__all__ = ["Findings"]


@dataclass(frozen=True)
class Findings:
    """What was found of a model, layer by layer.

    Attributes:
        model: the model's class.
        input_size: (C, H, W) of the images in pixels; (H, W) is I_res.
        train_images: number of training images of the pass, of which the saturation is.
        test_images: number of held-out images, of which the model's accuracy is.
        probe_images: number of training images that probes were fitted to.
        accuracy: of the model on held-out images; None if its output is not (images, classes).
        threshold: share of the variance that saturation explains.
        rows: one per layer, in order of execution.
        tail: where the solution is complete.
        border: where receptive fields predict that.
        heatmaps: of the layers that were asked for.
        notices: what was not done as asked, one sentence each.
    """

    model: str
    input_size: tuple[int, int, int]
    train_images: int
    test_images: int
    probe_images: int
    accuracy: float | None
    threshold: float
    rows: tuple[InspectionRow, ...]
    tail: Tail
    border: Border
    heatmaps: tuple[HeatMap, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The observed tail beside the predicted one, in one sentence."""
        names, border = self.tail.layers, self.border.r_min
        pixels = one_or_all(tuple(map(str, self.input_size[1:])))
        expected = "none" if border is None else _from(names, self.tail.index(border))
        predicted = f"the receptive field at {pixels} pixels predicts {expected}"
        if self.tail.solved is None:
            return f"the tail was not measured; {predicted}"
        if not self.tail.tail:
            return f"there is no tail, every layer adds to the solution; {predicted}"
        return f"the tail has {_from(names, self.tail.index(self.tail.tail[0]))}; {predicted}"


def _from(names: Sequence[str], start: int) -> str:
    """The number of layers from one on, and its name."""
    count = len(names) - start
    return f"1 layer, {names[start]}" if count == 1 else f"{count} layers, from {names[start]} on"
