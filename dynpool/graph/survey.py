"""Traces of a model at one input size, made on first use and cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Unpack

from torch import nn

from .errors import TraceError
from .inputs import check_input_size
from .ir import Graph
from .pass_options import PassOptions, prepared
from .tracer import trace, trace_compared
from .train_vs_eval import unite_modes

__all__ = ["Survey"]


class Survey:
    """Traces of a model on meta tensors, each made on first use.

    Args:
        model: the model; it is not changed here, and must not change until all needed traces are made.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W).
        options: what a pass needs besides the image's size, see :func:`.tracer.trace`.

    Raises:
        TraceError: when the model cannot run at `input_size`.
    """

    def __init__(self, model: nn.Module, input_size: Sequence[int], **options: Unpack[PassOptions]) -> None:
        self.model, self.input_size = model, check_input_size(input_size)
        self.options = prepared(options, self.input_size)

    @cached_property
    def compared(self) -> Graph:
        """The trace at `input_size`, compared with a second pass over a larger input."""
        return trace_compared(self.model, self.input_size, **self.options)

    @cached_property
    def structure(self) -> Graph:
        """The trace that tells sizes from constants, at `input_size` or, if that shows more, at a larger size.

        `input_size` is doubled, up to five times, until no map is a single pixel and both passes run the same
        operations. A model that runs at only one size is traced at that size, and pinned wherever a size is combined
        with a constant.
        """
        best = graph = self.compared
        size = self.input_size
        for _ in range(5):
            if not graph.collapsed and (graph is not best or not graph.unmatched):
                return best
            size = (size[0], *(2 * n for n in size[1:]))
            try:
                graph = trace_compared(self.model, size, strict=False, **self.options)
            except TraceError:  # it cannot run at that size
                return best
            if (graph.collapsed, graph.unmatched) < (best.collapsed, best.unmatched):
                best = graph
        return best

    @cached_property
    def at_input_size(self) -> Graph:
        """The trace at `input_size`: the structure if it has that size, else a trace without a second pass."""
        known = vars(self)
        if "compared" not in known:
            return trace(self.model, self.input_size, **self.options)
        structure = known.get("structure")
        return structure if structure is self.compared else replace(self.compared, others={}, larger=None)

    @cached_property
    def modes_differ(self) -> bool:
        """Whether the model resizes differently in training mode; the structure gets the constraints of that mode."""
        return unite_modes(self.model, self.structure, **self.options)
