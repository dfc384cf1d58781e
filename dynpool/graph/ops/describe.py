"""Which primitive a recorded operation is, and `register_op` for operations that this library does not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from dynpool.size_math import window_output_size

from .. import primitives as kinds
from ..record import Node, Primitive, Record, Shape, Value
from .computed import elementwise
from .operation import Describe, Operation
from .table import DESCRIPTIONS

__all__ = ["checked_names", "describe", "is_registered", "register_op"]

_REGISTERED: dict[str, Describe] = {}


def describe(record: Record, node: Node) -> Primitive:
    """The primitive of an operation of a pass."""
    if not node.inputs:
        return kinds.Make()
    op, out_of_place = Operation(record, node), node.op.removesuffix("_")
    own = _REGISTERED.get(node.op)
    if own is not None:
        return _checked(op, own(op))
    description = DESCRIPTIONS.get(node.op) or DESCRIPTIONS.get(out_of_place)
    if description is None:
        description = elementwise if node.pointwise else _unknown
    return description(op)


def _unknown(op: Operation) -> Primitive:
    return kinds.Opaque(described=False)


def is_registered(op: str) -> bool:
    """Whether an operation, such as "mylib.blur", is described by the user."""
    return op in _REGISTERED


def register_op(*names: str) -> Callable[[Describe], Describe]:
    """A decorator that registers the description of custom operations.

    With it, :func:`dynpool.convert` follows sizes through the operation instead of pinning them, :func:`count_macs`
    counts its MACs, and :func:`dynpool.analysis.receptive_field` knows which positions it reads. The decorated function
    is called as `description(op)` after a model has been traced, once per execution of the operation; `op["size"]` is
    an argument by its name in the schema, with tensors as values that have a `shape`. It returns one of the primitives
    of :mod:`dynpool.graph.primitives`. A later description replaces an earlier one.

    Args:
        names: names such as "mylib::blur" of operations registered in PyTorch (by `torch.library.custom_op`).

    Raises:
        TypeError: for no name or one that is no string, or a description that cannot be called; from whatever traces a
            model, if a description returns no primitive.
        ValueError: for a name that is not of the form "namespace::name", that PyTorch does not know, or that this
            library describes itself; from whatever traces a model, if a description asks for an argument that the
            operation does not have, or if the operation gave another shape than its primitive does.

    Example:
        >>> import torch, dynpool
        >>> from dynpool.graph.primitives import Window
        >>> @torch.library.custom_op("docs::blur", mutates_args=())
        ... def blur(x: torch.Tensor, size: int) -> torch.Tensor:
        ...     return torch.nn.functional.avg_pool2d(x, size, 1, size // 2)
        >>> @blur.register_fake
        ... def _(x, size):
        ...     return torch.empty_like(x)
        >>> @dynpool.register_op("docs::blur")
        ... def describe_blur(op):
        ...     return Window(op["x"], kernel=(op["size"],) * 2, padding=(op["size"] // 2,) * 2)
        >>> class Blurred(torch.nn.Sequential):
        ...     def forward(self, x):
        ...         return blur(super().forward(x), 5)
        >>> model = Blurred(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1))
        >>> dynpool.analysis.receptive_field(model, (3, 32, 32)).i_min  # 3 + (5 - 1) * 2
        (11.0, 11.0)
        >>> list(dynpool.resolutions(dynpool.convert(model, (3, 32, 32))))
        ['0']
    """
    recorded = checked_names("register_op", names)
    for name in names:
        _check_undescribed(name)

    def decorator(description: Describe) -> Describe:
        if not callable(description):
            raise TypeError(f"register_op: a description must be callable, got {description!r}")
        _REGISTERED.update(dict.fromkeys(recorded, description))
        return description

    return decorator


def checked_names(register: str, names: tuple[object, ...]) -> list[str]:
    """The names of operations, given as "mylib::blur", as they are recorded: "mylib.blur". Errors name `register`."""
    if not names:
        raise TypeError(f"{register}: names of operations are missing")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f'{register}: names must be strings such as "mylib::blur", got {name!r}')
        namespace, separator, op = name.partition("::")
        if not (namespace.isidentifier() and separator and op.isidentifier()):
            raise ValueError(f'{register}: names must be of the form "namespace::name", got {name!r}')
        if _packet(name) is None and name.replace("::", ".") not in DESCRIPTIONS:
            raise ValueError(f"{register}: names must be operations that PyTorch knows, got {name!r}; define it first")
    return [str(name).replace("::", ".") for name in names]


def _packet(name: str) -> Any:
    """The operation of that name in PyTorch; None if there is none."""
    namespace, _, op = name.partition("::")
    return getattr(getattr(torch.ops, namespace), op, None)


def _check_undescribed(name: str) -> None:
    packet = _packet(name)
    pointwise = packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )
    if name.replace("::", ".") in DESCRIPTIONS or (name.startswith("aten::") and pointwise):
        raise ValueError(f"register_op: names must not be operations that this library describes already, got {name!r}")


def _checked(op: Operation, made: object) -> Primitive:
    """The primitive that a user's description returned, checked against the operation."""
    if not isinstance(made, Primitive) or type(made) is Primitive:
        raise TypeError(f"the description of {op.name} must return one of dynpool.graph.primitives, got {made!r}")
    kind = type(made).__name__
    for field in fields(made):  # type: ignore[arg-type]
        value = getattr(made, field.name)
        if field.type == "Value" and not isinstance(value, Value):
            raise TypeError(f"{kind}.{field.name} in the description of {op.name} must be a tensor, got {value!r}")
    expected, given = _shape_of(made), op.outputs[0].shape if op.outputs else None
    if expected is not None and expected != given:
        raise ValueError(f"{op.name} is described as {kind}, which gives the shape {expected}, but it gave {given}")
    return made


def _shape_of(p: Primitive) -> Shape | None:
    """The shape of the first output, if the primitive alone determines it."""
    if isinstance(p, kinds.Elementwise):
        return np.broadcast_shapes(*(x.shape for x in p.inputs))
    if isinstance(p, kinds.Normalize | kinds.Scan | kinds.Take):
        return p.x.shape
    if isinstance(p, kinds.Permute):
        return tuple([1 if dim is None else p.x.shape[dim] for dim in p.order])
    if isinstance(p, kinds.Window) and not p.transposed:
        n = len(p.kernel)
        windows = zip(p.x.shape[-n:], p.kernel, p.stride, p.padding, p.dilation, strict=True)
        front = p.x.shape[:-n] if p.weight is None else (*p.x.shape[: -n - 1], p.weight.shape[0])
        return (*front, *(window_output_size(*window, ceil_mode=p.ceil_mode) for window in windows))
    return None
