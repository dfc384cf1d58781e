"""Descriptions of operations that compute: normalisation, windows, resampling, reductions, products, writes."""

from __future__ import annotations

from .. import primitives as kinds
from ..record import Primitive, Value
from .operation import Describe, Operation, ints

__all__ = [
    "adaptive_pool",
    "attention",
    "batch_norm",
    "convolution",
    "copy",
    "elementwise",
    "fractional_pool",
    "group_norm",
    "index_put",
    "layer_norm",
    "like",
    "opaque",
    "pool",
    "product",
    "recurrent",
    "reduce",
    "same",
    "unpool",
    "upsample",
    "write_along",
]


def elementwise(op: Operation) -> Primitive:
    return kinds.Elementwise(op.inputs)


def same(op: Operation) -> Primitive:
    return kinds.Elementwise((op.x,))


def like(op: Operation) -> Primitive:
    return kinds.Make(op.x)


def layer_norm(op: Operation) -> Primitive:
    covered = tuple(range(op.rank - len(op["normalized_shape"]), op.rank))
    return kinds.Normalize(op.x, covered, covered if len(op.inputs) > 1 else ())


def group_norm(op: Operation) -> Primitive:
    """A normalisation whose statistics include height and width."""
    return kinds.Normalize(op.x, tuple(range(1, op.rank)), (1,) if len(op.inputs) > 1 else ())


def batch_norm(op: Operation) -> Primitive:
    """A batch normalisation: its statistics are constants of the model, unless computed from the map."""
    over = (0, *range(2, op.rank)) if op.get("training", "no_training" not in op.name) else ()
    return kinds.Normalize(op.x, over, (1,) if len(op.inputs) > 1 else ())


def convolution(op: Operation) -> Primitive:
    weight = op["weight"]
    n = len(weight.shape) - 2
    return kinds.Window(
        op["input"],
        kernel=weight.shape[2:],
        stride=ints(op["stride"], n),
        padding=ints(op["padding"], n),
        dilation=ints(op["dilation"], n),
        weight=weight,
        groups=op["groups"],
        transposed=bool(op["transposed"]),
    )


def pool(n: int) -> Describe:
    def description(op: Operation) -> Primitive:
        return kinds.Window(
            op.x,
            kernel=ints(op["kernel_size"], n),
            stride=ints(op["stride"] or op["kernel_size"], n),
            padding=ints(op["padding"], n, 0),
            dilation=ints(op.get("dilation", 1), n),
            ceil_mode=bool(op["ceil_mode"]),
        )

    return description


def adaptive_pool(n: int) -> Describe:
    return lambda op: kinds.Resample(op.x, n, "adaptive")


def fractional_pool(n: int) -> Describe:
    return lambda op: kinds.Resample(op.x, n, "fractional", kernel=ints(op["kernel_size"], n))


def unpool(n: int) -> Describe:
    def description(op: Operation) -> Primitive:
        pooled = op.maker(op["indices"])
        if (
            pooled is None
            or pooled.name != f"aten.max_pool{n}d_with_indices"
            or ints(pooled["dilation"], n) != (1,) * n
        ):
            return opaque(op)  # indices may be of any position
        stride = ints(pooled["stride"] or pooled["kernel_size"], n)
        return kinds.Unpool(op.x, ints(pooled["kernel_size"], n), stride, ints(pooled["padding"], n, 0))

    return description


def upsample(n: int, method: str) -> Describe:
    names = ("scales_d", "scales_h", "scales_w")[-n:] if n > 1 else ("scales",)

    def description(op: Operation) -> Primitive:
        given = op.get("scale_factors") or [op.get(name) for name in names]
        scales = None if None in given else tuple(map(float, given))
        return kinds.Resample(op.x, n, method, scales, bool(op.get("align_corners", False)))

    return description


def reduce(op: Operation) -> Primitive:
    if op.get("other") is not None:  # the elementwise maximum of two tensors
        return kinds.Elementwise(op.inputs)
    return kinds.Reduce(op.x, op.dims())


def recurrent(op: Operation) -> Primitive:
    return kinds.Recurrent(op.x, tuple(op["parameters"]), 1 if op["batch_first"] else 0, op["bidirectional"])


def product(op: Operation) -> Primitive:
    a, b = op.inputs[-2:]
    return kinds.Product(a, b, op.inputs[0] if len(op.inputs) > 2 else None)


def attention(op: Operation) -> Primitive:
    query, key, value, *masks = op.inputs
    return kinds.Attention(query, key, value, tuple(masks))


def copy(op: Operation) -> Primitive:
    source = op.get("src", op.get("other"))
    return kinds.Write(op.x, source if isinstance(source, Value) else None)


def index_put(op: Operation) -> Primitive:
    indexed = [(dim, index) for dim, index in enumerate(op["indices"]) if index is not None]
    if len(indexed) != 1:
        return kinds.Write(op.x, op["values"], anywhere=True)
    ((dim, index),) = indexed
    return kinds.Write(op.x, op["values"], dim, index, kept=bool(op["accumulate"]))


def write_along(source: str, *, kept: bool = False) -> Describe:
    def description(op: Operation) -> Primitive:
        written = op[source]
        return kinds.Write(op.x, written if isinstance(written, Value) else None, op.dim(), op["index"], kept=kept)

    return description


def opaque(op: Operation) -> Primitive:
    return kinds.Opaque()
