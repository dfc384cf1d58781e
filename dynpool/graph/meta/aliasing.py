"""Which operations return a view of an argument, and which write to one, according to their schemas."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

__all__ = ["PLAIN", "Aliasing", "aliasing"]


class Aliasing(NamedTuple):
    """The aliasing between an operation's outputs and arguments.

    Attributes:
        view: whether its outputs are views of the first argument.
        targets: names of the arguments that it writes to.
        written: outputs that are such an argument, as pairs (name of the argument, output).
    """

    view: bool = False
    targets: tuple[str, ...] = ()
    written: tuple[tuple[str, int], ...] = ()


PLAIN = Aliasing()


@functools.cache
def aliasing(func: Any) -> Aliasing:
    """The aliasing of an ATen operation according to its schema; it is the same at every call."""
    arguments, returns = func._schema.arguments, func._schema.returns
    written_to = {
        argument.name: argument.alias_info.before_set
        for argument in arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    }
    targets = {alias: name for name, aliases in written_to.items() for alias in aliases}
    infos = [returned.alias_info for returned in returns]
    written = tuple(
        (targets[alias], output)
        for output, info in enumerate(infos)
        if info is not None and info.is_write
        for alias in info.before_set
        if alias in targets
    )
    shared = bool(arguments) and arguments[0].alias_info is not None and not arguments[0].alias_info.is_write
    return Aliasing(shared and any(info is not None for info in infos), tuple(written_to), written)
