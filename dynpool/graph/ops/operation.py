"""The view of one operation that is passed to its description: arguments by name, tensors with their shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..record import Node, Primitive, Record, Value

__all__ = ["Describe", "Operation", "ints"]

Ints = tuple[int, ...]


def ints(value: Any, n: int, default: int = 1) -> Ints:
    """An int or a list of ints of an operation's arguments as `n` ints."""
    items = [default] if value is None or value == [] else ([value] if isinstance(value, int) else list(value))
    return tuple(int(v) for v in (items * n if len(items) == 1 else items))


class Operation:
    """One operation of a pass, as passed to its description: `op["dilation"]` is an argument by name.

    Tensors among the arguments are `Value`s, which have a `shape`.

    Attributes:
        name: name of the operation, such as "aten.convolution".
        inputs: the tensors among its arguments, in order.
        outputs: its output tensors.
    """

    def __init__(self, record: Record, node: Node) -> None:
        self.name = node.op
        self.arguments = node.arguments
        self.inputs: tuple[Value, ...] = tuple([record.values[v] for v in node.inputs])
        self.outputs: tuple[Value, ...] = tuple([record.values[v] for v in node.outputs])
        self.pointwise = node.pointwise
        self._record = record

    def __getitem__(self, argument: str) -> Any:
        try:
            return self.arguments[argument]
        except KeyError:
            names = ", ".join(self.arguments)
            raise ValueError(f"{self.name} has no argument {argument!r}; its arguments are {names}") from None

    def get(self, argument: str, default: Any = None) -> Any:
        """The argument, or `default` where this overload does not have it."""
        return self.arguments.get(argument, default)

    def maker(self, value: Value) -> Operation | None:
        """The operation that made a tensor; None for the model's inputs, parameters and constants."""
        node = self._record.makers.get(value.id)
        return None if node is None else Operation(self._record, node)

    @property
    def x(self) -> Value:
        """The first tensor."""
        return self.inputs[0]

    @property
    def rank(self) -> int:
        return len(self.inputs[0].shape)

    def dim(self, argument: str = "dim") -> int:
        """An argument that gives one dimension of x, counted from 0."""
        return int(self[argument]) % max(self.rank, 1)

    def dims(self, argument: str = "dim") -> Ints:
        """An argument that gives one or several dimensions of x; all of them if it is None, empty or missing."""
        given = self.get(argument)
        if given is None or given == []:
            return tuple(range(self.rank))
        return tuple([int(d) % max(self.rank, 1) for d in ([given] if isinstance(given, int) else given)])


Describe = Callable[[Operation], Primitive]
