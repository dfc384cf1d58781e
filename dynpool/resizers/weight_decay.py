"""A warning for optimisers with weight decay on alphas, which pulls them towards 0, that is, towards larger maps."""

from __future__ import annotations

import functools
import warnings
import weakref
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

__all__ = ["watch_for_decay"]

_DECAYED = (
    "{} applies weight decay to {} parameters that determine learned sizes, which enlarges maps without any gradient: "
    "give it dynpool.parameter_groups(model) instead of model.parameters()"
)
_owners: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_known: weakref.WeakSet[Optimizer] = weakref.WeakSet()


def watch_for_decay(resizer: nn.Module) -> None:
    """Warn at the first step of any optimiser with weight decay on the module's parameters."""
    _owners.add(resizer)
    _watch_optimizers()


@functools.cache
def _watch_optimizers() -> None:
    register_optimizer_step_pre_hook(_look)


def _look(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    if optimizer in _known:
        return
    _known.add(optimizer)
    alphas = {id(alpha) for owner in list(_owners) for alpha in owner.parameters(recurse=False)}
    decayed = [p for group in optimizer.param_groups if group.get("weight_decay") for p in group["params"]]
    count = sum(id(p) in alphas for p in decayed)
    if count:
        warnings.warn(_DECAYED.format(type(optimizer).__name__, count), stacklevel=4)
