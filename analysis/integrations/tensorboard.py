"""I_min, GMACs, alphas and sizes as TensorBoard scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .scalars import scalars

__all__ = ["ScalarWriter", "write_scalars"]


class ScalarWriter(Protocol):
    """The interface of `torch.utils.tensorboard.SummaryWriter`, which tensorboardX and others share."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None: ...


def write_scalars(writer: ScalarWriter, record: Mapping[str, Any]) -> None:
    """Write a line of `IMinTracker.log` at its step, named as by `dynpool.analysis.integrations.scalars`.

    Example:
        >>> from torch.utils.tensorboard import SummaryWriter  # doctest: +SKIP
        >>> write_scalars(SummaryWriter("runs"), tracker.log(step))  # doctest: +SKIP
    """
    for name, value in scalars(record).items():
        writer.add_scalar(name, value, record["step"])
