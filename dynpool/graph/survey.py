"""What a few passes tell of a model at one input size; whoever asks for it again gets what is there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import nn

from .errors import TraceError
from .inputs import check_input_size
from .ir import Graph
from .tracer import trace, trace_compared
from .train_vs_eval import unite_modes

__all__ = ["Survey"]


class Survey:
    """What passes of a model on meta tensors tell, each run when it is first asked for.

    Args:
        model: left as it is; it must not change as long as something is asked for the first time.
        input_size: (C, H, W) in pixels.
        batch: images that a pass needs, see :func:`.tracer.trace`.

    Raises:
        TraceError: when the model cannot run at `input_size`.
    """

    def __init__(self, model: nn.Module, input_size: Sequence[int], batch: int | None = None) -> None:
        self.model, self.input_size, self.batch = model, check_input_size(input_size), batch

    @cached_property
    def structure(self) -> Graph:
        """The trace that tells sizes from numbers, at `input_size` or at a double of it that shows more.

        It does where no map is a single pixel any more, or where both passes run the same operations.
        A model that runs at one size alone is traced at that size; it is pinned wherever sizes meet numbers.
        """
        best = graph = trace_compared(self.model, self.input_size, batch=self.batch)
        size = self.input_size
        for _ in range(5):
            if not graph.collapsed and (graph is not best or not graph.unmatched):
                return best
            size = (size[0], 2 * size[1], 2 * size[2])
            try:
                graph = trace_compared(self.model, size, batch=self.batch)
            except TraceError:  # it cannot run at that size
                return best
            if (graph.collapsed, graph.unmatched) < (best.collapsed, best.unmatched):
                best = graph
        return best

    @cached_property
    def here(self) -> Graph:
        """A trace at `input_size`: the structure, if that was traced there, else one of a single pass."""
        known = vars(self).get("structure")
        if known is not None and known.input_size == self.input_size:
            return self.structure
        return trace(self.model, self.input_size, batch=self.batch)

    @cached_property
    def modes_differ(self) -> bool:
        """Whether the model resizes otherwise in training mode; the structure has what both demand from now on."""
        return unite_modes(self.model, self.structure, self.batch)
