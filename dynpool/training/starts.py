"""The initial sizes of a network with learned sizes: designed, random at a given cost, or given."""

from __future__ import annotations

import math

import torch
from torch import nn

import dynpool
from dynpool.resizers import host_alphas, set_alpha

from .budget import Budget, cost_reached, settle
from .config import RunConfig
from .errors import ConfigError
from .seeding import generator_for

__all__ = ["draw_sizes", "set_start"]

InputSize = tuple[int, ...]


def draw_sizes(
    model: nn.Module, config: RunConfig, input_size: InputSize, gmacs: float | None, *, key: str = "gmacs_budget"
) -> str:
    """Set the sizes of a converted network to random ones, drawn from the run's seed; returns a sentence on the cost.

    Every stride is multiplied by a log-uniform random number between 1 / `random.spread` and `random.spread`; then the
    sizes are adjusted to the cost. Weights are not affected. Resizers with narrow bounds, such as Shape Adaptors, end
    close to their designed sizes if the cost is the designed one.

    Args:
        model: the converted network, at its designed sizes.
        config: the run.
        input_size: (C, H, W) in pixels, or of other axes, at which GMACs are counted.
        gmacs: the cost in GMACs; None: that of the designed sizes.
        key: the name of the cost in error messages.

    Raises:
        ValueError: if the cost is out of reach.
    """
    cost = dynpool.count_macs(model, input_size).gmacs if gmacs is None else gmacs
    generator = generator_for(config.seed, "sizes")
    log_spread = math.log(config.random.spread)
    budget = Budget(model, input_size, cost, key=key)
    resizers = budget.tree.owners
    for resizer, value in zip(resizers, host_alphas(resizers), strict=True):
        strides = torch.tensor(resizer.strides(value), dtype=torch.float64)
        drawn = torch.rand(len(strides), generator=generator, dtype=torch.float64)
        strides = strides * (drawn * 2 - 1).mul(log_spread).exp()
        set_alpha(resizer, resizer.project(resizer.values_of(tuple(strides.tolist())), value, None))
    return cost_reached(cost, settle(budget))


def set_start(model: nn.Module, config: RunConfig, input_size: InputSize) -> str:
    """Set the sizes of a converted network to those of `start`; returns a sentence on them, empty if as designed.

    Raises:
        ConfigError: if `start` names an unknown resolution, or a size that the network cannot have.
        ValueError: if `start_gmacs` is out of reach.
    """
    if config.start == "designed":
        return ""
    if config.start == "random":
        return f"random start: {draw_sizes(model, config, input_size, config.start_gmacs, key='start_gmacs')}"
    try:
        dynpool.set_sizes(model, {str(name): size for name, size in config.start.items()})  # YAML reads 3 as a number
    except ValueError as error:
        raise ConfigError(f"start: {error}", "start") from error
    return "started at the given sizes"
