"""The optimiser of a run, the groups of its parameters, and the schedule of its learning rates."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dynpool.common.extras import optional
from dynpool.common.names import nearest

from .config import RunConfig
from .errors import ConfigError

__all__ = ["LEARNED", "check_optimizer", "learning_rate_factor", "make_optimizer"]

LEARNED = ("alphas", "kernels")
"""The groups of parameters that determine sizes of maps and of kernels: they are learned until `alpha_until`."""

Group = dict[str, Any]


def learning_rate_factor(config: RunConfig, steps_per_epoch: int, *, fraction: float = 1.0) -> Callable[[int], float]:
    """The learning-rate factor as a function of the optimiser step, counted from 0 over the whole run.

    With `fraction` below 1 the schedule covers only that fraction of the run; afterwards the factor is zero.
    """
    total = config.epochs * steps_per_epoch * fraction
    warmup = round(config.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        done = step / total
        if fraction < 1 and done >= 1:
            return 0.0
        if step < warmup:
            return (step + 1) / warmup
        if config.scheduler == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if config.scheduler == "multistep":
            return 0.1 ** sum(done >= milestone for milestone in config.milestones)
        return 1.0

    return factor


def make_optimizer(model: nn.Module, groups: Sequence[Group], config: RunConfig) -> Optimizer:
    """The optimiser of a prepared network.

    Args:
        model: the network.
        groups: its parameters, grouped by `dynpool.parameter_groups`.
        config: of the run.

    Raises:
        ConfigError: if timm does not know the optimiser, or it refuses an option.
    """
    return _optimizer(_regrouped(model, groups, config), config)


def check_optimizer(config: RunConfig) -> None:
    """Check that a run's optimiser is known and takes its options, before there is a network.

    Raises:
        ConfigError: as `make_optimizer`, except for `layer_decay`, which depends on the network.
    """
    _optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], config)


def _optimizer(groups: Sequence[Group], config: RunConfig) -> Optimizer:
    settings = config.optimizer
    if settings.name == "sgd" and not settings.options:
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    with optional():
        from timm.optim import create_optimizer_v2, list_optimizers
    name, options = settings.name.lower(), {key: _number(value) for key, value in settings.options.items()}
    if name.removeprefix("lookahead_") not in list_optimizers():
        near = nearest(name, list_optimizers())
        raise ConfigError(f"optimizer.name is {settings.name!r}, which timm does not know{near}")
    rates = {"lr": config.lr, "weight_decay": config.weight_decay, "momentum": config.momentum}
    try:
        found = create_optimizer_v2(groups, opt=name, **rates, **options)
    except (TypeError, ValueError, LookupError, ImportError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"optimizer {name!r} with options {settings.options}: {error}") from error
    if getattr(found, "is_second_order", False):
        raise ConfigError(f"optimizer.name is {name!r}, which needs second derivatives; allowed: any other")
    for group in found.param_groups:
        if group.get("name") in LEARNED and "betas" in group:
            group["betas"] = (config.alpha_momentum, *group["betas"][1:])
    return found


def _number(value: Any) -> Any:
    """A number that was read as text, as 1e-8 is in YAML; lists likewise."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    with contextlib.suppress(ValueError, TypeError):
        return float(value) if isinstance(value, str) else value
    return value


def _regrouped(model: nn.Module, groups: Sequence[Group], config: RunConfig) -> list[Group]:
    """The groups, those of weights split by layer and by whether they decay, as the configuration asks."""
    settings = config.optimizer
    if settings.layer_decay == 1 and settings.decay_vectors:
        return list(groups)
    with optional():
        from timm.optim import param_groups_layer_decay, param_groups_weight_decay
    split = param_groups_weight_decay  # the other function warns where layers are not to be told apart
    if settings.layer_decay < 1:
        decays = {"layer_decay": settings.layer_decay, "weight_decay_exclude_1d": not settings.decay_vectors}
        split = partial(param_groups_layer_decay, **decays)
    found: list[Group] = []
    scales: set[float] = set()
    for group in groups:
        if group["name"] in LEARNED:
            found.append(group)
            continue
        mine = {id(parameter) for parameter in group["params"]}
        for part in split(
            model,
            weight_decay=config.weight_decay,
            no_weight_decay_list=getattr(model, "no_weight_decay", set)(),
        ):
            parameters = [parameter for parameter in part["params"] if id(parameter) in mine]
            scales.add(part.get("lr_scale", 1.0))
            if parameters:
                decay, rate = part["weight_decay"], group["lr"] * part.get("lr_scale", 1.0)
                found.append({**group, "params": parameters, "weight_decay": decay, "lr": rate})
    if settings.layer_decay < 1 and len(scales) == 1:
        allowed = f"1 for the model {config.model.name!r}, as timm does not know the order of its layers"
        raise ConfigError(f"optimizer.layer_decay is {settings.layer_decay}; allowed: {allowed}")
    return found
