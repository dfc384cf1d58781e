"""The methods that a comparison compares, in a registry: each determines the sizes of a network's feature maps.

A method turns the human-designed network into a `Prepared` one: the network to train, its optimiser groups, an extra
loss term, and a function called after each optimiser step. `register` adds further methods; the training loop needs no
change.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import dynpool
from dynpool.baselines import (
    DiffStride2d,
    antialiasing_loss,
    flexconv_network,
    njet_network,
    refine,
    shape_adaptor_network,
)
from dynpool.common.names import nearest
from dynpool.resizers import LearnedResizer, dynopool_class, learned_resizers

from .budget import Budget, cost_reached, scale_sizes, settle
from .config import RunConfig
from .config_sections import require
from .errors import ConfigError
from .optimizer import LEARNED
from .prepared import Prepared, with_latency
from .resized_images import image_size_for, resize_images
from .starts import draw_sizes, set_start

__all__ = ["METHODS", "Method", "Prepared", "prepare", "register", "weight_groups"]

_MASK_RATE = 0.1  # of the learning rate of kernels: that of FlexConv's masks, as published


class Method(Protocol):
    """A method: (network, config, input size) -> `Prepared`. It may change the given network."""

    def __call__(self, model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared: ...


METHODS: dict[str, Method] = {}


def register(name: str) -> Callable[[Method], Method]:
    """A decorator that adds a method under `name`.

    Raises:
        ValueError: if the name is taken.
    """

    def add(method: Method) -> Method:
        if name in METHODS:
            raise ValueError(f"method {name!r} is already registered")
        METHODS[name] = method
        return method

    return add


def _lines(*sentences: str) -> str:
    return "\n".join(filter(None, sentences))


# --- fixed sizes ----------------------------------------------------------------------------------------------------


def weight_groups(model: nn.Module, config: RunConfig) -> list[dict[str, Any]]:
    """Optimiser groups of a network with fixed sizes: alphas no longer require gradients."""
    for resizer in learned_resizers(model, owners=True).values():
        resizer.shared_alpha().requires_grad_(False)
    groups = dynpool.parameter_groups(model, lr=config.lr, weight_decay=config.weight_decay)
    return [group for group in groups if group["name"] not in LEARNED]


@register("human")
def human(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """The network as it was designed."""
    return Prepared(model, weight_groups(model, config))


@register("resized")
def resized(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """The network as it was designed, on images that it first resizes to the size of the cost `gmacs_budget`.

    The human design at another input resolution, given the same images as all other methods.
    """
    if config.budget is None:
        return Prepared(model, weight_groups(model, config), summary="images keep their size: there is no gmacs_budget")
    size, excess = image_size_for(model, input_size, config.budget)
    resize_images(model, input_size[1:], size)
    summary = f"images of {size[0]}x{size[1]} pixels; {cost_reached(config.budget, excess)}"
    return Prepared(model, weight_groups(model, config), summary=summary)


@register("fixed")
def fixed(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """DynOPool's operator at the sizes of `start`, not learned: separates the effect of the operator from learning."""
    converted = _converted(model, config, input_size, dynopool_class(len(input_size) - 1))
    summary = _lines(str(dynpool.conversion_report(converted)), set_start(converted, config, input_size))
    return Prepared(converted, weight_groups(converted, config), summary=summary)


@register("scaled")
def scaled(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """DynOPool's operator at the sizes of `start` times one factor, not learned, with the GMACs of `gmacs_budget`.

    Separates where pixels are added from how many. Without a budget it is `fixed`.
    """
    prepared = fixed(model, config, input_size)
    if config.budget is None:
        return prepared
    excess = scale_sizes(Budget(prepared.model, input_size, config.budget))
    return replace(prepared, summary=_lines(prepared.summary, cost_reached(config.budget, excess)))


@register("random")
def random(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """DynOPool's operator at random sizes with the GMACs of `gmacs_budget`, or of the designed sizes.

    The null hypothesis for methods that learn sizes. Sizes are drawn from the run's seed.
    """
    converted = _converted(model, config, input_size, dynopool_class(len(input_size) - 1))
    summary = draw_sizes(converted, config, input_size, config.budget)
    return Prepared(converted, weight_groups(converted, config), summary=summary)


@register("refine")
def refined(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """Static refinement (Richter and Pal): the network edited so that I_min is below the input resolution."""
    edited, plan = refine(model, input_size, way=config.refine.way)
    return Prepared(edited, weight_groups(edited, config), summary=str(plan))


# --- learned sizes --------------------------------------------------------------------------------------------------


def _converted(
    model: nn.Module, config: RunConfig, input_size: tuple[int, ...], pool: Callable[..., LearnedResizer[Any]]
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


def _groups(model: nn.Module, config: RunConfig) -> list[dict[str, Any]]:
    """Optimiser groups of a network that learns sizes, kernels or both; those that learn nothing are left out."""
    groups = dynpool.parameter_groups(
        model,
        lr=config.lr,
        alpha_lr=config.alpha_lr,
        kernel_lr=config.kernel_lr,
        weight_decay=config.weight_decay,
    )
    for group in groups:
        if group["name"] == "alphas":
            group |= {"momentum": config.alpha_momentum, "nesterov": config.alpha_momentum > 0}
    return [group for group in groups if any(parameter.requires_grad for parameter in group["params"])]


def _learned(
    model: nn.Module, config: RunConfig, input_size: tuple[int, ...], *, summary: str, alphas_every: int = 1
) -> Prepared:
    """A prepared network with learned sizes: its start, optimiser groups, GMACs or budget term of the loss, bounds."""
    summary = _lines(summary, set_start(model, config, input_size))
    groups = _groups(model, config)
    terms: list[Callable[[], Tensor]] = []
    budget = None
    if config.gmacs_weight:
        gmacs = dynpool.GMACsLoss(model, input_size)
        terms.append(lambda: config.gmacs_weight * gmacs())
    if config.budget is not None:
        budget = Budget(model, input_size, config.budget)
        pull = budget.pull
        terms.append(lambda: config.budget_weight * pull())

    def after_step(step: int, steps: int) -> None:
        dynpool.constrain(model)
        if budget is not None and step == math.ceil(config.alpha_until * steps):  # the last update of the alphas
            settle(budget)

    penalty = (lambda: torch.stack([term() for term in terms]).sum()) if terms else None
    return Prepared(model, groups, penalty, after_step, alphas_every, summary)


@register("dynopool")
def dynopool(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """Sizes learned with DynOPool (Jang et al., CVPR 2022), with a penalty of `gmacs_weight` per GMAC (Eq. 8)."""
    converted = _converted(model, config, input_size, dynopool_class(len(input_size) - 1))
    return _learned(converted, config, input_size, summary=str(dynpool.conversion_report(converted)))


@register("shape-adaptor")
def shape_adaptor(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """Sizes learned with Shape Adaptors (Liu et al., ECCV 2020), whose alphas take a step every few batches."""
    options = config.shape_adaptor
    adapted = shape_adaptor_network(
        model, input_size, mode=options.mode, limit=options.limit, published=options.published
    )
    summary = str(dynpool.conversion_report(adapted))
    return _learned(adapted, config, input_size, summary=summary, alphas_every=options.every)


@register("diffstride")
def diffstride(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """Sizes learned with DiffStride (Riad et al., ICLR 2022), at the same positions as with DynOPool."""
    options = config.diffstride
    pool = partial(
        DiffStride2d, smoothness=options.smoothness, symmetric=options.symmetric, published=options.published
    )
    converted = _converted(model, config, input_size, pool)
    return _learned(converted, config, input_size, summary=str(dynpool.conversion_report(converted)))


# --- learned kernels ------------------------------------------------------------------------------------------------


def _with_learned_kernels(
    model: nn.Module,
    config: RunConfig,
    input_size: tuple[int, ...],
    summary: str,
    *terms: Callable[[], Tensor],
) -> Prepared:
    """A prepared network that learns its kernels alone: optimiser groups, GMACs and given terms of the loss, bounds.

    Raises:
        ConfigError: for a budget, which whole pixels of kernels cannot meet, or a weight of the latency.
    """
    allowed = "null, as kernels change by whole pixels; a method that learns the sizes of maps can meet a budget"
    require("gmacs_budget", config.gmacs_budget, config.gmacs_budget is None, allowed)
    require("latency.budget", config.latency.budget, config.latency.budget is None, allowed)
    weight = config.latency.weight
    require("latency.weight", weight, weight == 0, "0, as the latency is predicted for sizes of maps, not of kernels")
    if config.gmacs_weight:
        gmacs = dynpool.GMACsLoss(model, input_size)
        terms = (*terms, lambda: config.gmacs_weight * gmacs())
    return Prepared(
        model,
        _groups(model, config),
        (lambda: torch.stack([term() for term in terms]).sum()) if terms else None,
        lambda step, steps: dynpool.constrain(model),
        summary=summary,
    )


def _njet(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> tuple[nn.Module, str]:
    """The network with N-Jet layers, and the report of its conversion."""
    network, report = njet_network(model, input_size, **dataclasses.asdict(config.njet))
    return network, str(report)


@register("njet")
def njet(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """Kernels learned with N-Jet layers (Pintea et al., IEEE TIP 2021), maps as designed.

    With `njet.learn` false it is the control: the same kernels, whose size is not learned.
    """
    network, summary = _njet(model, config, input_size)
    return _with_learned_kernels(network, config, input_size, summary)


@register("njet+dynopool")
def njet_and_dynopool(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """Kernels learned with N-Jet layers, and the sizes of maps with DynOPool."""
    allowed = "null with the method njet+dynopool, in which DynOPool determines the sizes of maps"
    require("njet.subsample", config.njet.subsample, config.njet.subsample is None, allowed)
    network, summary = _njet(model, config, input_size)
    converted = _converted(network, config, input_size, dynopool_class(len(input_size) - 1))
    return _learned(converted, config, input_size, summary=_lines(summary, str(dynpool.conversion_report(converted))))


@register("flexconv")
def flexconv(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """Kernels learned with FlexConv layers (Romero et al., ICLR 2022) and their anti-aliasing loss, maps as designed.

    With `flexconv.learn` false it is the control: the same kernels, whose size is not learned.
    """
    options = dataclasses.asdict(config.flexconv)
    weight, mask = options.pop("antialias"), options.pop("antialias_mask")
    network, report = flexconv_network(model, input_size, **options)
    terms = (
        [partial(antialiasing_loss, network, weight=weight, mask=mask, published=config.flexconv.published)]
        if weight
        else []
    )
    prepared = _with_learned_kernels(network, config, input_size, str(report), *terms)
    for group in prepared.groups:
        if group["name"] == "kernels":
            group["lr"] *= _MASK_RATE
    return replace(prepared, penalty_of_weights=bool(terms))


def prepare(model: nn.Module, config: RunConfig, input_size: tuple[int, ...]) -> Prepared:
    """The network prepared by the method that `config` names.

    Raises:
        ConfigError: for an unknown method (the message lists the known ones), a network that it cannot use, or a budget
            that is to match another run whose cost is not known.
    """
    if config.method not in METHODS:
        near = nearest(config.method, METHODS)
        known = f" (known: {', '.join(METHODS)})" if "known" not in near else ""
        raise ConfigError(f"method is {config.method!r}, which is not a known method{near}{known}")
    try:
        return with_latency(METHODS[config.method](model, config, input_size), config, input_size)
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"method {config.method!r} cannot use model {config.model.name!r}: {error}") from error
