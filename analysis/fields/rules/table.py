"""The rule of each primitive for receptive fields."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dynpool.graph import Graph, Primitive
from dynpool.graph import primitives as kinds

from ..propagate import Domain, LayerOf, Rule, Walk
from . import indexing, inplace, mixing, moves, windows

__all__ = ["walk_of"]

_RULES: Mapping[type[Primitive], Rule] = MappingProxyType(
    {
        kinds.Elementwise: mixing.elementwise,
        kinds.Make: mixing.make,
        kinds.Normalize: mixing.normalize,
        kinds.Broadcast: moves.broadcast,
        kinds.View: moves.view,
        kinds.Permute: moves.permute,
        kinds.Slice: moves.slice_,
        kinds.Take: moves.take,
        kinds.Repeat: moves.repeat,
        kinds.Pad: moves.pad,
        kinds.Concatenate: moves.concatenate,
        kinds.Diagonal: moves.diagonal,
        kinds.Regroup: moves.regroup,
        kinds.Unfold: moves.unfold,
        kinds.Patches: moves.patches,
        kinds.Fold: moves.fold,
        kinds.Window: windows.window,
        kinds.Unpool: windows.unpool,
        kinds.Resample: windows.resample,
        kinds.Resizer: windows.resizer,
        kinds.Reduce: mixing.reduce,
        kinds.Scan: mixing.scan,
        kinds.Recurrent: mixing.recurrent,
        kinds.Product: mixing.product,
        kinds.Attention: mixing.attention,
        kinds.Index: indexing.index,
        kinds.Gather: indexing.gather,
        kinds.GridSample: indexing.grid_sample,
        kinds.Write: inplace.write,
        kinds.Opaque: mixing.opaque,
    }
)


def walk_of(graph: Graph, domain: Domain, layer: LayerOf | None = None) -> Walk:
    """A walk of a graph with all rules, not yet started."""
    return Walk(graph, domain, _RULES, inplace.VIEW_INVERSES, layer)
