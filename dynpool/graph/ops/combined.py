"""Descriptions of operations that combine positions: windows, resampling, reductions, products."""

from __future__ import annotations

from .. import primitives as kinds
from ..record import Primitive
from .operation import Describe, Operation, ints

__all__ = [
    "adaptive_pool",
    "attention",
    "convolution",
    "dynopool",
    "fractional_pool",
    "pool",
    "product",
    "recurrent",
    "reduce",
    "resizer",
    "scan",
    "upsample",
]


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


def upsample(n: int, method: str) -> Describe:
    names = ("scales_d", "scales_h", "scales_w")[-n:] if n > 1 else ("scales",)

    def description(op: Operation) -> Primitive:
        given = op.get("scale_factors") or [op.get(name) for name in names]
        scales = None if None in given else tuple(map(float, given))
        return kinds.Resample(op.x, n, method, scales, bool(op.get("align_corners", False)))

    return description


def dynopool(op: Operation) -> Primitive:
    return kinds.Resample(op["x"], 2, op["reduce"])


def resizer(op: Operation) -> Primitive:
    return kinds.Resizer(op.inputs)


def reduce(op: Operation) -> Primitive:
    if op.get("other") is not None:  # the elementwise maximum of two tensors
        return kinds.Elementwise(op.inputs)
    return kinds.Reduce(op.x, op.dims())


def scan(op: Operation) -> Primitive:
    return kinds.Scan(op.x, op.dim())


def recurrent(op: Operation) -> Primitive:
    return kinds.Recurrent(op.x, tuple(op["parameters"]), 1 if op["batch_first"] else 0, op["bidirectional"])


def product(op: Operation) -> Primitive:
    a, b = op.inputs[-2:]
    return kinds.Product(a, b, op.inputs[0] if len(op.inputs) > 2 else None)


def attention(op: Operation) -> Primitive:
    query, key, value, *masks = op.inputs
    return kinds.Attention(query, key, value, tuple(masks))
