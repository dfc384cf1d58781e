"""`refine`: edits a network before training so that its receptive fields fit the image size.

A layer whose input already has a receptive field of the whole image is unproductive: it can add no new context. Richter
and Pal therefore require I_min < I_res: no layer's smallest receptive field may reach the size of the image. `refine`
achieves that with few edits.

Reference: Richter and Pal, "Receptive Field Refinement for Convolutional Neural Networks Reliably Improves Predictive
Performance".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from dynpool.common.arguments import check_model
from dynpool.graph import Graph, check_input_size, trace
from dynpool.resizers import check_axes, learned_resizers
from dynpool.resolution import check_unwrapped, resolution_tree

from .figures import Figures, RefinementResult, figures_of, make_plan, measure, on_meta_device
from .layer_changes import name_pools
from .less_downsampling import less_downsampling
from .plan import Edit, RefinementPlan, apply_edits, check_i_min
from .published import published_edits
from .shorter_wider import shorter_and_wider

__all__ = ["refine"]

_WAYS: Mapping[str, Callable[[nn.Module, Graph, Figures], RefinementResult]] = MappingProxyType(
    {"less downsampling": less_downsampling, "shorter and wider": shorter_and_wider}
)


def refine(
    model: nn.Module,
    input_size: Sequence[int],
    *,
    way: str | None = None,
    edits: str | RefinementPlan | None = None,
    inputs: Any = None,
    batch: int | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[nn.Module, RefinementPlan]:
    """A copy of `model` with I_min < I_res, and the plan of edits that it was made with. `model` is not changed.

    "less downsampling" changes only strides, so weights load before or after. Each downsampling, with all layers that
    must change together, can be removed, weakened (stride 4 to 3, 2 or 1) or moved to a later layer of stride 1; each
    of these is one edit. The search prefers the fewest edits, then I_min as close below I_res as possible, then the
    fewest GMACs. Padding does not change, so layers with an even kernel give maps some pixels smaller or larger, and
    patches overlap if their stride falls below their kernel. Every plan has been verified by a pass of the refined
    model.

    "shorter and wider" removes the last blocks whose layers have r_min >= I_res, and widens the remaining layers by a
    common factor to the original number of weights. A block with more output than input channels can be removed if the
    layers before it can be widened to match. Widths can change only where convolutions, linear layers, batch norms and
    elementwise operations meet, not at concatenations, grouped convolutions and layers with other weights of their own.
    Layers that change shape get new weights.

    `edits` names an edit published by Richter and Pal (`published_edits()`), which is made as printed whatever the
    resulting I_min, or is a plan, whose edits are made again and measured at `input_size`.

    `plan.reached` is True if I_min < I_res. If not, `plan.why` gives the reason; the copy is then unchanged after a
    search, but has the edits if they were given.

    Args:
        model: any module that takes a batch of images, alone or with other arguments; weights, mode, dtype and device
            are kept.
        input_size: (C, H, W) in pixels; (H, W) is I_res. I_min must be below it along both axes.
        way: the search: "less downsampling" (the default) or "shorter and wider".
        edits: name of a published edit, or a plan, to use instead of a search.
        inputs: the arguments of the model's forward, if an image is not enough, see :func:`dynpool.convert`.
        batch: batch size of the traced passes, if one image is not enough.
        dtype: of the images; default: that of the weights.

    Raises:
        TypeError: if `model` is not an nn.Module, or `edits` neither a name nor a plan.
        ValueError: for an unknown way or published edit, both a way and edits, edits for another network (its
            downsamplings and I_min are compared for a published edit, its layers and I_min for a plan), a bad
            `input_size`, or a model that cannot run at it or has learned resizers.

    Example:
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 7), nn.Conv2d(8, 8, 3))
        >>> refined, plan = refine(vgg, (3, 20, 20))
        >>> print(plan)
        edit   layer          before      after
        moved  1      stride  2       ->  1
               2      stride  1       ->  2
        1 edit (less downsampling): I_min 20 -> 13, below I_res 20
        MMACs 0.1389 -> 0.2545, parameters 3,952 -> 3,952
    """
    check_model(model)
    if way is not None and edits is not None:
        raise ValueError(f"way is {way!r} and edits are given: edits replace the search, so omit one of them")
    way = "less downsampling" if way is None else way
    if not isinstance(way, str) or way not in _WAYS:
        raise ValueError(f"way must be one of {', '.join(map(repr, _WAYS))}, got {way!r}")
    size = check_input_size(input_size)
    check_axes(model, len(size) - 1, "refine")
    if resolution_tree(model) is not None or learned_resizers(model):
        raise ValueError(
            f"model is a {type(model).__name__}, which has learned resizers; refine the original model or a frozen one"
        )
    check_unwrapped(model, "refine")
    if edits is not None and not isinstance(edits, (str, RefinementPlan)):
        raise TypeError(f"edits must be the name of a published edit or a RefinementPlan, got {edits!r}")
    if isinstance(edits, str) and edits not in published_edits():
        raise ValueError(f"edits must be one of {', '.join(published_edits())}, got {edits!r}")
    trial = on_meta_device(model)
    graph = trace(trial, size, every_window=True, inputs=inputs, batch=batch, dtype=dtype)
    if name_pools(trial, graph):
        graph = trace(trial, size, every_window=True, inputs=graph.example)
    before = figures_of(trial, graph)
    found = RefinementResult((), before)
    if edits is not None:
        way, made = _given(edits, trial, graph, before)
        try:
            after = measure(apply_edits(trial, made), graph)
        except ValueError as error:
            raise _unfit(edits, model, error) from error
        remarks = [] if after.fits(size) else ["given edits are applied as they are, whatever the resulting I_min"]
        if isinstance(edits, RefinementPlan) and edits.parameters_before != before.parameters:
            remarks.append(
                f"the edits were found for a network of {edits.parameters_before:,} weights, this one has "
                f"{before.parameters:,}"
            )
        found = RefinementResult(made, after, "; ".join(remarks))
    elif not before.fits(size):
        found = _WAYS[way](trial, graph, before)
    plan = make_plan(size, way, before, found)
    return plan.apply(model, inputs=graph.example), plan


def _given(
    edits: str | RefinementPlan, trial: nn.Module, graph: Graph, before: Figures
) -> tuple[str, tuple[Edit, ...]]:
    """The way of a plan, and the edits, of a published edit or another plan."""
    try:
        if isinstance(edits, str):
            return f"published: {edits}", published_edits()[edits].edits_of(trial, graph, before.i_min)
        check_i_min(edits.i_min_before, before.i_min)
    except ValueError as error:
        raise _unfit(edits, trial, error) from error
    return edits.way, edits.edits


def _unfit(edits: str | RefinementPlan, model: nn.Module, error: ValueError) -> ValueError:
    named = repr(edits) if isinstance(edits, str) else f"a plan ({edits.way})"
    return ValueError(f"edits is {named}, which does not fit this {type(model).__name__}: {error}")
