"""The anti-aliasing regulariser of a model's FlexConv layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_flags, check_model, check_numbers
from dynpool.size_math import pair

from .antialiasing import SIGMA_CUT, excess, published_excess
from .layer import FlexConv2d

__all__ = ["antialiasing_loss"]


def antialiasing_loss(
    model: nn.Module,
    *,
    weight: float = 0.1,
    mask: bool = True,
    sigma_cut: float = SIGMA_CUT,
    published: bool = False,
) -> Tensor:
    """The anti-aliasing regulariser of a model's FlexConv layers, a scalar to be added to the loss.

    ``weight`` times the sum over layers and axes of ``max(f+ - f_nyq, 0)^2``, with the bound f+ of the masked kernel
    (:meth:`FlexConv2d.bandwidth`) and the highest frequency f_nyq = (k - 1) / 4 that its k points can represent
    (Romero et al., Eq. 6 to 8; their weight is 0.1). Zero where no kernel can alias, also at a higher resolution.

    Height and width count apart, each with its own limit, and the filters of a network together.

    Args:
        model: any module with :class:`FlexConv2d` layers.
        weight: factor of the sum.
        mask: False: bound the frequencies of the networks alone. A mask that leaves 3 pixels takes nine tenths of the
            limit, so with the mask the loss presses for larger kernels.
        sigma_cut: standard deviations at which the spectrum of a Gaussian counts as ended.
        published: as in the authors' code, each filter apart, with its share of the limit and the larger of both axes.

    Raises:
        ValueError: if the model has no such layer, or weight or sigma_cut is not finite and positive.
    """
    check_model(model)
    finite = "a finite positive number"
    check_numbers(finite, lambda value: 0 < value < math.inf, weight=weight, sigma_cut=sigma_cut)
    layers = [module for module in model.modules() if isinstance(module, FlexConv2d)]
    if not layers:
        raise ValueError(f"model is a {type(model).__name__} without FlexConv2d layers: there is nothing to regularise")
    check_flags(mask=mask, published=published)
    if published:
        found = [
            published_excess(layer.network, layer.sigma, max(layer.largest), mask=mask, sigma_cut=sigma_cut)
            for layer in layers
        ]
        return weight * torch.stack(found).sum()
    bounds = [layer.bandwidth(mask=mask, sigma_cut=sigma_cut) for layer in layers]
    terms = [excess(bound, pair(layer.largest)) for bound, layer in zip(bounds, layers, strict=True)]
    return weight * torch.stack(terms).sum()
