"""Receptive fields of any model: r_min and r_max per layer, I_min, and which layers the input is too small for.

    r_l = r_{l-1} + (k_l - 1) * S_{l-1}

with k_l the kernel size, dilation included, and S_{l-1} the product of the strides before; r = 1 at the input. Where
paths meet, r_min takes the smallest and r_max the largest. Convolutions, fixed-window pooling and resizers are layers.
A global operation (mean over an axis, adaptive pooling, attention, a linear layer over the whole map or the convolution
that is one) makes a path infinite: never the minimum, and what lies on such paths alone is no layer.

Reference: Richter and Pal, "Receptive Field Refinement for Convolutional Neural Networks Reliably Improves Predictive
Performance", Eq. 7 and Table 7; for `aligned`, Araujo et al., "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from dynpool.graph import check_input_size, trace

from .field_program import LayerRow
from .field_rules import compile_fields

__all__ = ["LayerRow", "ReceptiveFieldReport", "receptive_field"]

FloatPair = tuple[float, float]


@dataclass(frozen=True)
class ReceptiveFieldReport:
    """What `receptive_field` found. `str()` prints a table, `to_dict()` gives plain data.

    Attributes:
        input_size: (C, H, W) in pixels; (H, W) is I_res.
        layers: one row a layer, in order of execution.
        i_min: max over layers of r_min (Richter and Pal, Eq. 7), per axis.
        i_min_table7: max over layers of max(r_min, k * S) with S the effective stride after the layer: the rule that
            Richter and Pal's Table 7 was made with.
        i_max: max over layers of r_max; infinite if a path runs through a global operation.
        unproductive: names of layers whose input has r_min >= I_res along both axes already.
        underutilized: names of layers whose own r_min >= I_res along both axes; contains the unproductive ones.
        border_layer: the first unproductive layer, or None.
        aligned: whether wherever paths meet they have one effective stride. (Araujo et al. ask in addition that their
            centres agree, which is not looked at.)
        not_understood: operations without a rule, taken as if they left the receptive field alone, and how often.
    """

    input_size: tuple[int, int, int]
    layers: tuple[LayerRow, ...]
    i_min: FloatPair
    i_min_table7: FloatPair
    i_max: FloatPair
    unproductive: tuple[str, ...]
    underutilized: tuple[str, ...]
    border_layer: str | None
    aligned: bool
    not_understood: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as dicts, lists, strings and numbers; an infinite field is the float `inf`."""
        rows = [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(row).items()} for row in self.layers]
        return {
            "input_size": list(self.input_size),
            "i_min": list(self.i_min),
            "i_min_table7": list(self.i_min_table7),
            "i_max": list(self.i_max),
            "unproductive": list(self.unproductive),
            "underutilized": list(self.underutilized),
            "border_layer": self.border_layer,
            "aligned": self.aligned,
            "not_understood": dict(self.not_understood),
            "layers": rows,
        }

    def __str__(self) -> str:
        head = ("layer", "kind", "kernel", "stride", "r_min", "r_max", "S", "output", "")
        mark = {
            **dict.fromkeys(self.underutilized, "underutilized"),
            **dict.fromkeys(self.unproductive, "unproductive"),
        }
        cells = [
            (
                row.name,
                row.kind,
                _show(row.kernel),
                _show(row.stride),
                _show(row.r_min),
                _show(row.r_max),
                _show(row.effective_stride),
                "x".join(str(n) for n in row.shape[1:]),
                mark.get(row.name, ""),
            )
            for row in self.layers
        ]
        widths = [max(len(line[i]) for line in (head, *cells)) for i in range(len(head))]
        lines = [
            "  ".join(
                c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line[:-1], widths, strict=False))
            )
            + (f"  {line[-1]}" if line[-1] else "")
            for line in (head, *cells)
        ]
        lines.append(
            f"I_min {_show(self.i_min)} (Table 7's rule: {_show(self.i_min_table7)}), I_max {_show(self.i_max)}, "
            f"I_res {_show(self.input_size[1:])}"
        )
        lines.append(
            f"of {len(self.layers)} layers {len(self.unproductive)} unproductive, "
            f"{len(self.underutilized)} underutilized"
            + (f"; border layer {self.border_layer}" if self.border_layer is not None else "")
        )
        if not self.aligned:
            lines.append("not aligned: paths of different effective stride meet")
        if self.not_understood:
            names = ", ".join(f"{op} x{n}" for op, n in sorted(self.not_understood.items()))
            lines.append(f"operations without a rule: {names}")
        return "\n".join(lines)


def _show(pair: Sequence[float]) -> str:
    """One number if height and width agree, else both; rounded to 0.1."""
    h, w = (f"{round(v, 1):g}" if math.isfinite(v) else "inf" for v in pair)
    return h if h == w else f"{h}x{w}"


def receptive_field(model: nn.Module, input_size: Sequence[int]) -> ReceptiveFieldReport:
    """Receptive fields of all layers of a model, its I_min and I_max, and the layers its input is too small for.

    Converted models are looked at with the sizes their alphas give now. A resizer's kernel is its footprint in pixels,
    its stride the real number input / output, so that fields may be fractional.

    Args:
        model: any module that takes one image batch; it is traced on meta tensors and left untouched.
        input_size: (C, H, W) in pixels. (H, W) is I_res, which fields are compared with.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a bad `input_size`, or when the model cannot run at it.

    Example:
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> report = receptive_field(vgg, (3, 32, 32))
        >>> report.i_min, [row.r_min[0] for row in report.layers]
        ((8.0, 8.0), [3.0, 4.0, 8.0])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    graph = trace(model, check_input_size(input_size))
    program = compile_fields(graph)
    fields = program.fields()
    return ReceptiveFieldReport(
        input_size=graph.input_size,
        layers=program.rows(),
        i_min=fields.i_min,
        i_min_table7=fields.i_min_table7,
        i_max=fields.i_max,
        unproductive=fields.unproductive,
        underutilized=fields.underutilized,
        border_layer=fields.unproductive[0] if fields.unproductive else None,
        aligned=fields.aligned,
        not_understood=dict(graph.not_understood),
    )
