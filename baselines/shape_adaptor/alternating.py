"""An optimiser for the shape parameters that steps only once in several batches, for any training loop."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from dynpool.common.arguments import check_flags, check_model, check_numbers, check_whole
from dynpool.resizers import learned_resizers

__all__ = ["EveryFewSteps", "alpha_optimizer"]


class EveryFewSteps:
    """A wrapper of an optimiser that steps only at every n-th call of `step`.

    Liu et al., ECCV 2020, section 4.1: the weights take a step with every batch, alpha with every 20th, along the
    gradient of that batch alone. To use the sum of the gradients since the last step, clear them only after `step` has
    returned True.

    Args:
        optimizer: an optimiser of the shape parameters only.
        every: n, at least 1.
        published: as the authors' code: step with the 1st call and every n-th after it, not with the n-th, 2n-th, ...
            The code counts anew in each epoch: set ``calls`` to 0 for that.

    Raises:
        ValueError: if ``every`` is below 1.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, every: int = 20, published: bool = False) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {optimizer!r}")
        check_whole(1, every=every)
        check_flags(published=published)
        self.optimizer, self.every, self.calls, self.published = optimizer, every, 0, published

    def step(self) -> bool:
        """Count a batch; True if the parameters took a step."""
        self.calls += 1
        due = (self.calls - self.published) % self.every == 0
        if due:
            self.optimizer.step()
        return due

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the shape parameters."""
        self.optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state and the number of batches counted."""
        return {"optimizer": self.optimizer.state_dict(), "calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.calls = int(state["calls"])


def alpha_optimizer(
    model: nn.Module, *, lr: float = 0.1, momentum: float = 0.9, every: int = 20, published: bool = False
) -> EveryFewSteps:
    """SGD without weight decay for the alphas of all learned resizers of a model, with one step in ``every`` batches.

    The other parameters, ``dynpool.parameter_groups(model)[0]``, need an optimiser of their own.

    Args:
        model: a model with learned resizers.
        lr: learning rate, finite and at least 0.
        momentum: at least 0 and below 1.
        every: batches per step of the alphas.
        published: as the authors' code, with Nesterov momentum and the steps of :class:`EveryFewSteps`.

    Raises:
        ValueError: if an argument is out of range (``published`` needs a momentum above 0), or the model has no
            learned resizer.

    Example:
        >>> from dynpool.baselines import ShapeAdaptor2d
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), ShapeAdaptor2d(alpha=0.0))
        >>> alphas = alpha_optimizer(model, every=2)
        >>> for _ in range(2):
        ...     alphas.zero_grad()
        ...     model(torch.ones(1, 3, 8, 8)).sum().backward()
        ...     print(alphas.step(), model[1].alpha.item() != 0)
        False False
        True True
    """
    check_model(model)
    check_numbers("a finite number >= 0", lambda n: 0 <= n < math.inf, lr=lr)
    check_flags(published=published)
    allowed = "a number above 0 and below 1" if published else "a number of at least 0 and below 1"
    check_numbers(allowed, lambda n: 0 <= n < 1 and (n > 0 or not published), momentum=momentum)
    alphas = [resizer.shared_alpha() for resizer in learned_resizers(model, owners=True).values()]
    if not alphas:
        raise ValueError(f"model is a {type(model).__name__}, which has no learned resizer")
    optimizer = torch.optim.SGD(alphas, lr=lr, momentum=momentum, nesterov=published)
    return EveryFewSteps(optimizer, every=every, published=published)
