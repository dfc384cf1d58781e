"""The axis rule of each primitive: which axes its outputs have, which must agree, which are pinned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dynpool.graph import primitives as kinds
from dynpool.graph.axes import Axes, input_dims
from dynpool.graph.dims import constant_dims
from dynpool.graph.record import Primitive, Record

from . import compute, views, windows
from .context import Context, Dims

__all__ = ["find_axes"]

_RULES: Mapping[type[Primitive], Callable[[Context, Any], Dims | list[Dims]]] = MappingProxyType(
    {
        kinds.Elementwise: compute.elementwise,
        kinds.Broadcast: views.broadcast,
        kinds.Make: compute.make,
        kinds.Normalize: compute.normalize,
        kinds.View: views.view,
        kinds.Permute: views.permute,
        kinds.Slice: views.slice_,
        kinds.Take: views.take,
        kinds.Repeat: views.repeat,
        kinds.Pad: views.pad,
        kinds.Concatenate: views.concatenate,
        kinds.Diagonal: compute.diagonal,
        kinds.Regroup: windows.regroup,
        kinds.Unfold: views.unfold,
        kinds.Patches: windows.patches,
        kinds.Fold: windows.fold,
        kinds.Window: windows.window,
        kinds.Unpool: windows.unpool,
        kinds.Resample: windows.resample,
        kinds.Resizer: windows.resizer,
        kinds.Reduce: compute.reduce,
        kinds.Scan: compute.scan,
        kinds.Recurrent: compute.recurrent,
        kinds.Product: compute.product,
        kinds.Attention: compute.attention,
        kinds.Index: compute.index,
        kinds.Gather: compute.gather,
        kinds.GridSample: compute.grid_sample,
        kinds.Write: compute.write,
        kinds.Opaque: compute.opaque,
    }
)


def find_axes(record: Record) -> Axes:
    """The axes of a recorded pass: classes are united and pinned as its operations require."""
    axes = Axes([constant_dims(v.shape, v.shape) if v.origin != "op" else () for v in record.values])
    for image in record.inputs:
        axes.dims[image] = input_dims(axes.classes, record.values[image].shape, record.larger, ndim=record.ndim)
    for node in record.nodes:
        c = Context(record, axes, node)
        if not node.outputs:
            continue
        found = _RULES[type(node.primitive)](c, node.primitive)
        for k, value in enumerate(node.outputs):
            dims = found[k] if isinstance(found, list) else found
            right = tuple([d.size for d in dims]) == record.values[value].shape
            axes.dims[value] = dims if right else c.all_unrelated(k)
    return axes
