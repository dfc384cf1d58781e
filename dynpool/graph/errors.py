"""Errors of a forward pass."""

from __future__ import annotations

__all__ = ["TraceError"]


class TraceError(ValueError):
    """Raised if a model cannot run on the inputs it is traced with.

    Attributes:
        op: the ATen operation that failed, such as "aten.convolution"; empty if the model's own code did.
        path: module path of the innermost module that ran; empty for the model itself.
        cause: what was raised.
    """

    def __init__(
        self, op: str, path: str, cause: Exception, model: str = "the model", tried: str = "", hint: str = ""
    ) -> None:
        super().__init__(op, path, cause, model, tried, hint)
        self.op, self.path, self.cause = op, path, cause
        self._model, self._tried, self._hint = model, tried, hint

    @property
    def reason(self) -> str:
        """The exception and where it was raised, without the input."""
        return f"{type(self.cause).__name__} in {self.path or self._model}: {self.cause}"

    def __str__(self) -> str:
        return f"the model cannot run{self._tried}: {self.reason}{self._hint}"
