"""Static refinement: edit a network before training so that its receptive fields fit the images it is given.

Where a layer's input has seen the whole image already, the layer is unproductive: it can integrate no new context.
Richter and Pal therefore ask for I_min < I_res: the smallest receptive field of the last layers must stay below the
image's size. `refine` reaches that with as little change as it can find.

Reference: Richter and Pal, "Receptive Field Refinement for Convolutional Neural Networks Reliably Improves Predictive
Performance".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

from dynpool.graph import check_input_size
from dynpool.pool import DynOPool2d
from dynpool.resolution import resolution_tree

from .less_downsampling import less_downsampling
from .refinement_figures import Figures, Found, Size, make_plan, measure
from .refinement_plan import RefinementPlan
from .shorter_wider import shorter_and_wider

__all__ = ["refine"]

_WAYS: Mapping[str, Callable[[nn.Module, Size, Figures], Found]] = MappingProxyType(
    {"less downsampling": less_downsampling, "shorter and wider": shorter_and_wider}
)


def refine(
    model: nn.Module, input_size: Sequence[int], *, way: str = "less downsampling"
) -> tuple[nn.Module, RefinementPlan]:
    """A copy of `model` with I_min < I_res, and the plan of edits that leads to it; the given model is left untouched.

    "less downsampling" changes strides alone, so that all weights load before or after. Every downsampling, with all
    layers that must change together, can be removed, weakened (stride 4 to 3, 2 or 1) or moved to a later layer of
    stride 1; each of these is one edit. Of what the search finds, the plan has the fewest edits, then I_min as close
    below I_res as possible, then the fewest GMACs. Padding stays as it is, so that layers with an even window give maps
    some pixels smaller or larger; patches of a stride below their window overlap. Every plan has been checked by a pass
    of the refined model.

    If I_min < I_res cannot be reached, the copy is unchanged, `plan.reached` is False and `plan.why` says why.

    Args:
        model: any module that takes one image batch; weights, mode, dtype and device are kept.
        input_size: (C, H, W) in pixels; (H, W) is I_res. I_min must fall below it along both axes.
        way: "less downsampling".

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for an unknown way, a bad `input_size`, a model that cannot run at it or has learned resizers.

    Example:
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 7), nn.MaxPool2d(2))
        >>> refined, plan = refine(vgg, (3, 18, 18))
        >>> print(plan)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if way not in _WAYS:
        raise ValueError(f"way must be one of {', '.join(map(repr, _WAYS))}, got {way!r}")
    size = check_input_size(input_size)
    if resolution_tree(model) is not None or any(isinstance(m, DynOPool2d) for m in model.modules()):
        raise ValueError(f"the {type(model).__name__} has learned resizers; refine the original model, or freeze it")
    before = measure(model, size)
    found = Found((), before)
    if not before.fits(size):
        found = _WAYS[way](model, size, before)
    plan = make_plan(size, way, before, found)
    return plan.apply(model), plan
