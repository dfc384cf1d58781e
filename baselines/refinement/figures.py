"""The figures that refinement compares (I_min, GMACs, weights) and the result of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from dynpool.analysis.fields import compile_fields
from dynpool.graph import Graph, deep_copy, trace
from dynpool.size_math import PerAxis

from .plan import Edit, RefinementPlan

__all__ = ["Figures", "ImageSize", "RefinementResult", "figures_of", "make_plan", "measure", "on_meta_device"]

ImageSize = tuple[int, ...]  # (C, H, W), or other axes


@dataclass(frozen=True)
class Figures:
    """I_min in pixels, along each axis, GMACs for one image, and the number of weights."""

    i_min: PerAxis
    gmacs: float
    parameters: int

    def fits(self, size: ImageSize) -> bool:
        """Whether I_min < I_res along all axes."""
        return all(r < n for r, n in zip(self.i_min, size[1:], strict=True))


def measure(model: nn.Module, before: Graph) -> Figures:
    """The figures of a model, from a trace of it on the inputs of a trace before its edits."""
    return figures_of(model, trace(model, before.input_size, inputs=before.example))


def figures_of(model: nn.Module, graph: Graph) -> Figures:
    """The figures of a model, from a given trace of it."""
    return Figures(
        compile_fields(graph).fields().i_min,
        sum(graph.macs_by_node.values()) / 1e9,
        sum(p.numel() for p in model.parameters()),
    )


def on_meta_device(model: nn.Module) -> nn.Module:
    """A copy of the model with parameters and buffers on the meta device, where they take no memory."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return deep_copy(model, memo)


@dataclass(frozen=True)
class RefinementResult:
    """The result of one way of refining: the edits and the figures with them, or no edits and the reason."""

    edits: tuple[Edit, ...]
    figures: Figures
    why: str = ""
    stays: Mapping[str, str] = field(default_factory=dict)


def make_plan(size: ImageSize, way: str, before: Figures, found: RefinementResult) -> RefinementPlan:
    """The plan of a result, with the figures before and after."""
    return RefinementPlan(
        input_size=size,
        way=way,
        edits=found.edits,
        i_min_before=before.i_min,
        i_min_after=found.figures.i_min,
        gmacs_before=before.gmacs,
        gmacs_after=found.figures.gmacs,
        parameters_before=before.parameters,
        parameters_after=found.figures.parameters,
        why=found.why,
        stays=found.stays,
    )
