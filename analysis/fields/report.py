"""Receptive fields of any model: r_min and r_max per layer, I_min, and which layers the input is too small for.

    r_l = r_{l-1} + (k_l - 1) * S_{l-1}

with k_l the kernel size, dilation included, and S_{l-1} the product of the strides before; r = 1 at the input. Where
paths meet, r_min takes the smallest and r_max the largest. Convolutions, fixed-window pooling and resizers are layers.
A global operation (mean over an axis, adaptive pooling, attention, a linear layer over the whole map or an equivalent
convolution) makes a path infinite: it is never the minimum, and operations only on such paths are not layers. The
maxima in the literature leave such paths out: r_max_local and i_max_local.

Reference: Richter and Pal, "Receptive Field Refinement for Convolutional Neural Networks Reliably Improves Predictive
Performance", Eq. 7 and Table 7; for `aligned`, Araujo et al., "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self

from torch import nn

from dynpool.common.arguments import check_model
from dynpool.cost import MacsReport, Memory, find_memory, macs_of
from dynpool.graph import Graph, InputSize, trace

from .compile import compile_fields
from .layer_row import LayerRow, per_axis
from .regions import SeenRegions

__all__ = ["FieldReport", "LayerRow"]

Floats = tuple[float, ...]


@dataclass(frozen=True)
class FieldReport:
    """The receptive fields of a model, its cost and its memory; `to_dict()` returns plain data.

    Attributes:
        input_size: (C, H, W), (C, L) or (C, D, H, W) in pixels; what follows C is I_res.
        layers: one row per layer, in order of execution.
        i_min: max over layers of r_min (Richter and Pal, Eq. 7), per axis.
        i_min_table7: max over layers of max(r_min, k * S) with S the effective stride after the layer: the rule behind
            Table 7 of Richter and Pal.
        i_max: max over layers of r_max; infinite if a path runs through a global operation.
        i_max_local: max over layers of r_max_local: paths through a global operation are left out.
        behind_global: names of the convolutions over a map that is global already, such as those after spectral
            pooling: each sees the whole image, and is counted neither in `layers` nor in any figure above.
        aligned: whether paths have one effective stride and one centre wherever they meet (Araujo et al.).
        edges: the network as (from, to) pairs of indices of `layers`; -1 is the input. Other operations are left out.
        total_macs: multiply-accumulates of the whole model, linear layers and matrix products included.
        total_parameters: of the whole model.
        trainable_parameters: those that require a gradient.
        not_understood: operations without a rule, and how often they ran; figures of later layers are unreliable.
        notes: assumptions about values that only a real pass has, by line of the model's code.
        exact: the trace and its pixel-exact regions, used by `seen`.
    """

    input_size: tuple[int, ...]
    layers: tuple[LayerRow, ...]
    i_min: Floats
    i_min_table7: Floats
    i_max: Floats
    i_max_local: Floats
    aligned: bool
    edges: tuple[tuple[int, int], ...]
    total_macs: int
    total_parameters: int
    trainable_parameters: int
    behind_global: tuple[str, ...] = ()
    not_understood: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    exact: SeenRegions | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, model: nn.Module, input_size: InputSize | None, **options: Any) -> Self:
        """The report of a model, see :func:`dynpool.analysis.receptive_field`; the options are those of `trace`."""
        check_model(model)
        graph = trace(model, input_size, **options)
        program = compile_fields(graph)
        fields = program.fields()
        parameters = list(model.parameters())
        return cls(
            input_size=graph.size,
            layers=program.rows(),
            i_min=fields.i_min,
            i_min_table7=fields.i_min_table7,
            i_max=fields.i_max,
            i_max_local=fields.i_max_local,
            aligned=fields.aligned,
            edges=program.edges(),
            total_macs=sum(graph.macs_by_node.values()),
            total_parameters=sum(p.numel() for p in parameters),
            trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
            behind_global=program.behind_global,
            not_understood=program.not_understood,
            notes=tuple(graph.notes),
            exact=SeenRegions(graph, program.layers(), program.uneven()),
        )

    @property
    def _traced(self) -> SeenRegions:
        if self.exact is None:
            raise ValueError("this report was made without its trace; call receptive_field again")
        return self.exact

    @property
    def graph(self) -> Graph:
        """The trace."""
        return self._traced.graph

    @cached_property
    def cost(self) -> MacsReport:
        """What `dynpool.count_macs` says of the model: MACs by operator, and what the total leaves out."""
        return macs_of(self.graph)

    @cached_property
    def memory(self) -> Memory:
        """Bytes of activations that the traced pass makes and holds at each operation, and their peak."""
        return find_memory(self.graph)

    @property
    def weight_bytes(self) -> int:
        """Memory of the parameters and buffers; one that has several names counts once."""
        return sum(self.graph.values[value].bytes for value in set(self.graph.weights.values()))

    @property
    def varying(self) -> tuple[str, ...]:
        """Names of the layers whose positions see regions of different sizes, away from the border of the image.

        That is so behind upsampling or with windows of attention; r_max is that of the recurrence, `seen` tells them
        apart.
        """
        return tuple(self.layers[index].name for index in sorted(self._traced.varying))

    @property
    def unproductive(self) -> tuple[str, ...]:
        """Names of the layers whose input has r_min >= I_res along all axes already."""
        return self.unproductive_at(self.input_size[1:])

    @property
    def underutilized(self) -> tuple[str, ...]:
        """Names of the layers whose own r_min >= I_res along all axes; contains the unproductive ones."""
        return self.underutilized_at(self.input_size[1:])

    @property
    def border_layer(self) -> str | None:
        """The first unproductive layer."""
        return next(iter(self.unproductive), None)

    @property
    def unproductive_macs(self) -> int:
        """Multiply-accumulates of the unproductive layers."""
        return sum(row.macs for row in self._unproductive_rows(self.input_size[1:]))

    @property
    def unproductive_parameters(self) -> int:
        """Parameters of the unproductive layers."""
        return sum(row.parameters for row in self._unproductive_rows(self.input_size[1:]))

    def unproductive_at(self, i_res: int | Sequence[int]) -> tuple[str, ...]:
        """Names of the layers that would be unproductive at another I_res, with the current sizes.

        Args:
            i_res: input pixels per axis, or one int for all.

        Raises:
            ValueError: if `i_res` is not a positive int or one positive int per axis.
        """
        return tuple(row.name for row in self._unproductive_rows(i_res))

    def underutilized_at(self, i_res: int | Sequence[int]) -> tuple[str, ...]:
        """Names of the layers that would be underutilized at another I_res: r_min >= I_res along all axes.

        Args:
            i_res: input pixels per axis, or one int for all.

        Raises:
            ValueError: if `i_res` is not a positive int or one positive int per axis.
        """
        limits = per_axis("i_res", i_res, len(self.input_size) - 1, least=1)
        return tuple(row.name for row in self.layers if all(r >= n for r, n in zip(row.r_min, limits, strict=True)))

    def seen(self, layer: str | int, position: int | Sequence[int]) -> tuple[tuple[int, int] | None, ...]:
        """Per axis the first and last pixel of the image that an output position of a layer really sees.

        Unlike `LayerRow.region` this is exact at the edges of the map and for strides that vary along it: the hull of
        the pixels with a gradient if no weight is zero. Padding is not counted; None along an axis without any pixel.
        For a learned resizer of several operations it is a window as wide as its widest footprint, around the centre of
        the position, which may miss a pixel or two at its ends.

        A position is one of the layer's own output map: the dimensions that its window slides along, in their order,
        whichever axes of the image run along them. A transposed map is indexed (column, row), tokens under a 1-D layer
        have one index, and rows and columns in one strip are positions of the strip. The region is the hull over the
        channels, and over the batch if the model puts pieces of the image there.

        Args:
            layer: name or index of a row.
            position: index of the output position per axis of the layer's map, or one int for all; axes of size 1 may
                be left out.

        Raises:
            ValueError: for an unknown layer, a position outside its map, or a wrong number of indices.
        """
        index = layer if isinstance(layer, int) else next((i for i, r in enumerate(self.layers) if r.name == layer), -1)
        if not 0 <= index < len(self.layers):
            raise ValueError(f"layer must be a name or an index below {len(self.layers)}, got {layer!r}")
        return self._traced.region(index, position)

    def _unproductive_rows(self, i_res: int | Sequence[int]) -> list[LayerRow]:
        limits = per_axis("i_res", i_res, len(self.input_size) - 1, least=1)
        return [row for row in self.layers if all(r >= n for r, n in zip(row.r_min_in, limits, strict=True))]

    def to_dict(self) -> dict[str, Any]:
        """The report as dicts, lists, strings and numbers; an infinite field is the float `inf`."""
        rows = [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(row).items()} for row in self.layers]
        return {
            "input_size": list(self.input_size),
            "i_min": list(self.i_min),
            "i_min_table7": list(self.i_min_table7),
            "i_max": list(self.i_max),
            "i_max_local": list(self.i_max_local),
            "unproductive": list(self.unproductive),
            "underutilized": list(self.underutilized),
            "behind_global": list(self.behind_global),
            "border_layer": self.border_layer,
            "aligned": self.aligned,
            "unproductive_macs": self.unproductive_macs,
            "unproductive_parameters": self.unproductive_parameters,
            "total_macs": self.total_macs,
            "total_parameters": self.total_parameters,
            "trainable_parameters": self.trainable_parameters,
            "weight_bytes": self.weight_bytes,
            "peak_activation_bytes": self.memory.peak,
            "large_not_counted": list(self.cost.large_not_counted),
            "varying": list(self.varying),
            "edges": [list(edge) for edge in self.edges],
            "not_understood": dict(self.not_understood),
            "notes": list(self.notes),
            "layers": rows,
        }
