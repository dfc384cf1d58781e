"""`register_macs`: the user's formulas for the multiply-accumulates of operations."""

from __future__ import annotations

from collections.abc import Callable

from ..record import Node, Record
from .describe import checked_names
from .operation import Operation

__all__ = ["formula_of", "macs_by_formula", "register_macs"]

Formula = Callable[[Operation], int]

_FORMULAS: dict[str, Formula] = {}


def register_macs(*names: str) -> Callable[[Formula], Formula]:
    """A decorator that registers the formula for the MACs of an operation.

    All that counts MACs then uses it: :func:`dynpool.count_macs`, ceilings, budgets, reports. It is for operations that
    have no count (Fourier transforms, distances, custom operations), and replaces the count of those that have one. The
    decorated function is called as `formula(op)` for each execution of the operation in a traced pass: `op["size"]` is
    an argument by its name in the schema, `op.inputs` and `op.outputs` are its tensors, which have a `shape`. It
    returns the MACs of that execution, for all images of the pass. A later formula replaces an earlier one.

    :class:`dynpool.GMACsLoss` has the right value; its gradient takes these MACs to grow in proportion to the
    operation's output.

    Args:
        names: names of operations, such as "aten::_fft_r2c" or, of a custom one, "mylib::blur".

    Raises:
        TypeError: for no name, one that is no string, or a formula that cannot be called.
        ValueError: for a name that is not of the form "namespace::name" or that PyTorch does not know; from whatever
            counts MACs, if a formula returns no int of at least 0.

    Example:
        >>> import math, torch, dynpool
        >>> @torch.library.custom_op("docs::distances", mutates_args=())
        ... def distances(x: torch.Tensor) -> torch.Tensor:
        ...     return torch.cdist(x, x)
        >>> @distances.register_fake
        ... def _(x):
        ...     return x.new_empty(*x.shape[:-1], x.shape[-2])
        >>> @dynpool.register_macs("docs::distances")
        ... def formula(op):  # between n points with c coordinates: n * n * c
        ...     return math.prod(op.outputs[0].shape) * op["x"].shape[-1]
        >>> class Distances(torch.nn.Module):
        ...     def forward(self, x):
        ...         return distances(x)
        >>> dynpool.count_macs(Distances(), (1, 30, 8)).total
        7200
    """
    recorded = checked_names("register_macs", names)

    def decorator(formula: Formula) -> Formula:
        if not callable(formula):
            raise TypeError(f"register_macs: a formula must be callable, got {formula!r}")
        _FORMULAS.update(dict.fromkeys(recorded, formula))
        return formula

    return decorator


def formula_of(op: str) -> Formula | None:
    """The user's formula for an operation, such as "aten.relu", or for the one that "aten.relu_" runs in place."""
    return _FORMULAS.get(op) or _FORMULAS.get(op.removesuffix("_"))


def macs_by_formula(record: Record, node: Node) -> int | None:
    """The MACs of an operation by the user's formula; None if there is no formula."""
    formula = formula_of(node.op) if _FORMULAS else None
    if formula is None:
        return None
    macs = formula(Operation(record, node))
    if not isinstance(macs, int) or isinstance(macs, bool) or macs < 0:
        raise ValueError(f"the formula of {node.op} must return the MACs as an int of at least 0, got {macs!r}")
    return macs
