"""How a network comes by its resolutions: a registry of methods that a comparison compares.

A method turns the human-designed network into a `Prepared` one: the network to train, its optimiser groups, what the
loss has besides the task, and what is done after each optimiser step. The training loop knows no more than that, so
that further methods join by `register`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import dynpool
from dynpool.baselines import DiffStride2d, refine, shape_adaptor_network
from dynpool.common.names import nearest
from dynpool.resizers.learned_alpha import host_alphas, set_alpha
from dynpool.resizers.learned_resizer import LearnedResizer2d, learned_resizers

from .budget import TOLERANCE, Budget, settle
from .config import RunConfig
from .data import generator_for
from .errors import ConfigError

__all__ = ["METHODS", "Method", "Prepared", "prepare", "register"]

AfterStep = Callable[[int, int], None]


def _nothing(step: int, steps: int) -> None:
    """After a step of a network without learned resolutions there is nothing to do."""


@dataclass(frozen=True)
class Prepared:
    """A network ready to train.

    Attributes:
        model: the network.
        groups: optimiser groups; one of learned strides is named "alphas".
        penalty: weighted term added to the task loss, or None.
        after_step: called after every optimiser step with its number, from 1 on, and the number of steps of the run.
        alphas_every: optimiser steps from one update of the group "alphas" to the next.
        summary: what the method did, in words: the run's method.txt.
    """

    model: nn.Module
    groups: list[dict[str, Any]]
    penalty: Callable[[], Tensor] | None = None
    after_step: AfterStep = _nothing
    alphas_every: int = 1
    summary: str = ""


class Method(Protocol):
    """A method: (network, config, (C, H, W)) -> `Prepared`. The network given is the method's own to change."""

    def __call__(self, model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared: ...


METHODS: dict[str, Method] = {}


def register(name: str) -> Callable[[Method], Method]:
    """A decorator that adds a method under `name`.

    Raises:
        ValueError: the name is taken.
    """

    def add(method: Method) -> Method:
        if name in METHODS:
            raise ValueError(f"method {name!r} is registered already")
        METHODS[name] = method
        return method

    return add


# --- sizes that stay as they are ------------------------------------------------------------------------------------


def _weights(model: nn.Module, config: RunConfig) -> list[dict[str, Any]]:
    """Optimiser groups of a network whose sizes stay."""
    for pool in learned_resizers(model, owners=True).values():
        pool.shared_alpha().requires_grad_(False)
    groups = dynpool.parameter_groups(model, lr=config.lr, weight_decay=config.weight_decay)
    return [group for group in groups if group["name"] != "alphas"]


@register("human")
def human(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """The network as it was designed."""
    return Prepared(model, _weights(model, config))


@register("fixed")
def fixed(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """DynOPool's operator at the designed sizes, nothing learned: tells the operator's effect from the learning's."""
    converted = _converted(model, config, input_size, dynpool.DynOPool2d)
    return Prepared(converted, _weights(converted, config), summary=str(dynpool.conversion_report(converted)))


@register("random")
def random(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """DynOPool's operator at random sizes that cost `gmacs_budget`, or else what the designed ones cost in its place.

    The null hypothesis of a method that learns sizes. Drawn from the run's seed.
    """
    converted = _converted(model, config, input_size, dynpool.DynOPool2d)
    cost = dynpool.count_macs(converted, input_size).gmacs if config.gmacs_budget is None else config.gmacs_budget
    generator = generator_for(config.seed, "sizes")
    reach = math.log(config.random.spread)
    budget = Budget(converted, input_size, cost)
    pools = budget.tree.pools
    for pool, value in zip(pools, host_alphas(pools), strict=True):
        h, w = (torch.rand(2, generator=generator, dtype=torch.float64) * 2 - 1).mul(reach).exp().tolist()
        set_alpha(pool, pool.project((value[0] * h, value[1] * w), value, None))
    excess = settle(budget)
    return Prepared(converted, _weights(converted, config), summary=_cost_reached(cost, excess))


@register("refine")
def refined(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """The static refinement of Richter and Pal: the network edited until I_min is below the input's resolution."""
    edited, plan = refine(model, input_size, way=config.refine.way)
    return Prepared(edited, _weights(edited, config), summary=str(plan))


# --- learned sizes --------------------------------------------------------------------------------------------------


def _converted(
    model: nn.Module, config: RunConfig, input_size: tuple[int, int, int], pool: Callable[..., LearnedResizer2d]
) -> nn.Module:
    options = config.conversion
    return dynpool.convert(
        model,
        input_size,
        pool=pool,
        order=options.order,
        preserve=options.preserve,
        max_gmacs=options.max_gmacs,
    )


def _learned(
    model: nn.Module, config: RunConfig, input_size: tuple[int, int, int], *, summary: str, alphas_every: int = 1
) -> Prepared:
    """A network with learned sizes: its optimiser groups, the price of GMACs or the pull to a budget, the bounds."""
    groups = dynpool.parameter_groups(model, lr=config.lr, alpha_lr=config.alpha_lr, weight_decay=config.weight_decay)
    for group in groups:
        if group["name"] == "alphas":
            group |= {"momentum": config.alpha_momentum, "nesterov": config.alpha_momentum > 0}
    terms: list[Callable[[], Tensor]] = []
    budget = None
    if config.gmacs_weight:
        gmacs = dynpool.GMACsLoss(model, input_size)
        terms.append(lambda: config.gmacs_weight * gmacs())
    if config.gmacs_budget is not None:
        budget = Budget(model, input_size, config.gmacs_budget)
        pull = budget.pull
        terms.append(lambda: config.budget_weight * pull())

    def after_step(step: int, steps: int) -> None:
        dynpool.constrain(model)
        if budget is not None and step == math.ceil(config.alpha_until * steps):  # the last update of the alphas
            settle(budget)

    penalty = (lambda: torch.stack([term() for term in terms]).sum()) if terms else None
    return Prepared(model, groups, penalty, after_step, alphas_every, summary)


@register("dynopool")
def dynopool(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """Every resizer learned with DynOPool (Jang et al., CVPR 2022), at the price of `gmacs_weight` per GMAC (Eq. 8)."""
    converted = _converted(model, config, input_size, dynpool.DynOPool2d)
    return _learned(converted, config, input_size, summary=str(dynpool.conversion_report(converted)))


@register("shape-adaptor")
def shape_adaptor(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """Sizes learned with Shape Adaptors (Liu et al., ECCV 2020); their alphas take a step now and then."""
    options = config.shape_adaptor
    adapted = shape_adaptor_network(model, input_size, mode=options.mode, limit=options.limit)
    summary = str(dynpool.conversion_report(adapted))
    return _learned(adapted, config, input_size, summary=summary, alphas_every=options.every)


@register("diffstride")
def diffstride(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """Every resizer learned with DiffStride (Riad et al., ICLR 2022), in DynOPool's places."""
    options = config.diffstride
    pool = partial(DiffStride2d, smoothness=options.smoothness, symmetric=options.symmetric)
    converted = _converted(model, config, input_size, pool)
    return _learned(converted, config, input_size, summary=str(dynpool.conversion_report(converted)))


def _cost_reached(gmacs: float, excess: float) -> str:
    """In words, by how much sizes miss the cost they were to have."""
    missed = math.expm1(excess)
    verdict = "within" if abs(missed) <= TOLERANCE else "NOT within"
    return f"sizes cost {missed:+.1%} of {gmacs:.6g} GMACs, {verdict} {TOLERANCE:.0%}"


def prepare(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """The network made ready by the method that `config` names.

    Raises:
        ConfigError: for an unknown method (naming the known ones), or a network that the method refuses.
    """
    if config.method not in METHODS:
        near = nearest(config.method, METHODS)
        known = f" (known: {', '.join(METHODS)})" if "known" not in near else ""
        raise ConfigError(f"method is {config.method!r}, which is no known method{near}{known}")
    try:
        return METHODS[config.method](model, config, input_size)
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"method {config.method!r} cannot use model {config.model.name!r}: {error}") from error
