"""The receptive fields of the layers that are looked at, by the names that their activations have."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from ..fields import FieldReport

__all__ = ["LayerFields", "layer_fields"]

Floats = tuple[float, ...]
RESIZE = ".resize"  # the child of a converted layer that resizes its output


@dataclass(frozen=True)
class LayerFields:
    """The receptive fields of a layer's input and output, see `InspectionRow`."""

    r_min_in: Floats | None
    r_max_in: Floats | None
    r_min: Floats
    r_max_local: Floats
    unproductive: bool | None


def layer_fields(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, LayerFields]:
    """{name: fields} of all convolutions, pools and resizers, "name#2" for a second run.

    The output of a converted layer is that behind its resize, as its activations are.

    Raises:
        ValueError: if the model cannot be traced.
    """
    report = FieldReport.of(model, input_size)
    axes = len(report.input_size) - 1
    unproductive = set(report.unproductive)
    found = {}
    for index, row in enumerate(report.layers):
        before = [(1.0,) * axes if a == -1 else report.layers[a].r_max_local for a, b in report.edges if b == index]
        local = [[r[axis] for r in before if math.isfinite(r[axis])] for axis in range(axes)]
        longest = tuple(max(fields, default=math.inf) for fields in local)
        found[row.name] = LayerFields(row.r_min_in, longest, row.r_min, row.r_max_local, row.name in unproductive)
    everywhere = (math.inf,) * axes
    found |= {name: LayerFields(None, None, everywhere, everywhere, None) for name in report.behind_global}
    for name, fields in found.items():
        base, mark, number = name.partition("#")
        resized = found.get(f"{base}{RESIZE}{mark}{number}")
        if resized is not None:
            found[name] = LayerFields(
                fields.r_min_in, fields.r_max_in, resized.r_min, resized.r_max_local, fields.unproductive
            )
    return found
