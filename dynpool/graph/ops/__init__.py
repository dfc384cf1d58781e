"""The primitive of each ATen operation, and `register_op` for other operations."""

from .describe import is_registered, register_op
from .operation import ints

__all__ = ["ints", "is_registered", "register_op"]
