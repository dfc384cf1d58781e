"""How a network comes by its resolutions: a registry of methods that a comparison compares.

A method turns the human-designed network into a `Prepared` one: the network to train, its optimiser groups, what the
loss has besides the task, and what is done after each optimiser step. The training loop knows no more than that, so
that further methods join by `register`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

import dynpool
from dynpool.training.config import RunConfig, nearest
from dynpool.training.errors import ConfigError

__all__ = ["METHODS", "Method", "Prepared", "prepare", "register"]


def _nothing() -> None:
    """After a step of a network without learned resolutions there is nothing to do."""


@dataclass(frozen=True)
class Prepared:
    """A network ready to train.

    Attributes:
        model: the network.
        groups: optimiser groups; one of learned strides is named "alphas".
        penalty: weighted term added to the task loss, or None.
        after_step: called after every optimiser step.
        summary: what the method did, for the log.
    """

    model: nn.Module
    groups: list[dict[str, Any]]
    penalty: Callable[[], Tensor] | None = None
    after_step: Callable[[], None] = _nothing
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


@register("human")
def human(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """The network as it was designed."""
    return Prepared(model, dynpool.parameter_groups(model, lr=config.lr, weight_decay=config.weight_decay))


@register("dynopool")
def dynopool(model: nn.Module, config: RunConfig, input_size: tuple[int, int, int]) -> Prepared:
    """Every resizer learned with DynOPool, at the price of `gmacs_weight` per GMAC (Jang et al., CVPR 2022, Eq. 8)."""
    options = config.conversion
    converted = dynpool.convert(
        model, input_size, order=options.order, preserve=options.preserve, max_gmacs=options.max_gmacs
    )
    groups = dynpool.parameter_groups(
        converted, lr=config.lr, alpha_lr=config.alpha_lr, weight_decay=config.weight_decay
    )
    for group in groups:
        if group["name"] == "alphas":
            group |= {"momentum": config.alpha_momentum, "nesterov": config.alpha_momentum > 0}
    penalty = None
    if config.gmacs_weight:
        gmacs = dynpool.GMACsLoss(converted, input_size)

        def penalty() -> Tensor:
            return config.gmacs_weight * gmacs()

    return Prepared(
        converted, groups, penalty, lambda: dynpool.constrain(converted), str(dynpool.conversion_report(converted))
    )


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
