"""The moving average of a run's weights."""

import torch
from torch import nn

from dynpool.common.extras import optional
from dynpool.resizers import learned_alphas, learned_kernels

__all__ = ["AveragedModel"]


class AveragedModel:
    """A copy of a network whose weights are the exponential moving average of the network's.

    Alphas, and what determines learned kernels, are not averaged but copied: an average of strides is not a size that
    any of the averaged weights was trained at. So the copy has the sizes of the network, and costs the same.

    Args:
        model: the network, which is left as it is.
        decay: weight of the average so far; 1 - decay is that of the network's weights now.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        with optional():
            from timm.utils import ModelEmaV3
        self._average = ModelEmaV3(model, decay=decay)

    @property
    def model(self) -> nn.Module:
        """The copy."""
        return self._average.module

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Let the network's weights after an optimiser step enter the average."""
        self._average.update(model)
        mine = learned_alphas(self.model)
        for name, resizer in learned_alphas(model).items():
            mine[name].shared_alpha().copy_(resizer.shared_alpha())
        kernels = learned_kernels(self.model)
        for name, layer in learned_kernels(model).items():
            for own, parameter in zip(kernels[name].size_parameters(), layer.size_parameters(), strict=True):
                own.copy_(parameter)
