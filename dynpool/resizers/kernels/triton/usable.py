"""Whether Triton can compile and launch here: it wants a C compiler, its own assembler and a driver that it knows."""

from __future__ import annotations

from subprocess import SubprocessError

import torch
import triton
import triton.language as tl
from triton.errors import TritonError

__all__ = ["ERRORS", "why_not"]

ERRORS = (RuntimeError, OSError, ImportError, SubprocessError, TritonError)


@triton.jit
def _nothing(BLOCK: tl.constexpr):
    """The smallest kernel."""
    tl.static_assert(BLOCK == 1)


def why_not() -> str | None:
    """Launch a kernel that does nothing on the present device; what went wrong, or None.

    While a CUDA graph is captured it is compiled only: loading it could end the capture.
    """
    try:
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            _nothing.warmup(BLOCK=1, grid=(1,))
        else:
            _nothing[(1,)](BLOCK=1)
    except ERRORS as error:
        return f"{type(error).__name__}: {error}"
    return None
