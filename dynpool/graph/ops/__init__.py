"""The primitive of each ATen operation; `register_op` and `register_macs` for what users know of operations."""

from .describe import is_registered, register_op
from .formulas import formula_of, macs_by_formula, register_macs
from .operation import Operation, ints

__all__ = ["Operation", "formula_of", "ints", "is_registered", "macs_by_formula", "register_macs", "register_op"]
