"""The primitive of each ATen operation, and `register_op` for other operations."""

from .describe import is_registered, register_op

__all__ = ["is_registered", "register_op"]
