"""A network that its method has made ready to train, and the latency that a configuration adds to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .config import RunConfig
from .latency import RunLatency

__all__ = ["Prepared", "with_latency"]

AfterStep = Callable[[int, int], None]


def _nothing(step: int, steps: int) -> None:
    """Do nothing after a step, for networks without learned sizes."""


@dataclass(frozen=True)
class Prepared:
    """A network ready to train.

    Attributes:
        model: the network.
        groups: optimiser groups; that of learned strides is named "alphas", that of learned kernels "kernels".
        penalty: weighted term added to the task loss, or None.
        penalty_of_weights: whether that term depends on more than sizes, so that it changes when they no longer do.
        after_step: called after every optimiser step with its number, counted from 1, and the total number of steps.
        alphas_every: optimiser steps per update of the group "alphas".
        summary: a description of what the method did, written to method.txt.
        latency: of the network, where the configuration asks for it.
    """

    model: nn.Module
    groups: list[dict[str, Any]]
    penalty: Callable[[], Tensor] | None = None
    after_step: AfterStep = _nothing
    alphas_every: int = 1
    summary: str = ""
    latency: RunLatency | None = None
    penalty_of_weights: bool = False


def with_latency(prepared: Prepared, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """The prepared network with the latency that `config.latency` asks for: figures, a term of the loss, a budget.

    Loss term and budget concern learned sizes only; networks with fixed sizes get the figures.
    """
    settings = config.latency
    if not settings.wanted:
        return prepared
    learned = any(group["name"] == "alphas" for group in prepared.groups)
    aimed = learned and (settings.weight > 0 or settings.budget is not None)
    latency = RunLatency(prepared.model, config, input_size, predicted=aimed)
    if not aimed:
        return replace(prepared, latency=latency)
    terms: list[Callable[[], Tensor]] = [] if prepared.penalty is None else [prepared.penalty]
    if settings.weight:
        terms.append(lambda: settings.weight * latency())

    if settings.budget is not None:
        terms.append(lambda: config.budget_weight * latency.pull())

    def after_step(step: int, steps: int) -> None:
        prepared.after_step(step, steps)
        if settings.budget is not None and step == math.ceil(config.alpha_until * steps):  # their last update
            latency.settle()

    return replace(
        prepared,
        latency=latency,
        penalty=lambda: torch.stack([term() for term in terms]).sum(),
        after_step=after_step,
    )
