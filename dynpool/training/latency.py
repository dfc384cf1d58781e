"""Milliseconds of a run's network: measured after every epoch, predicted at other sizes as a loss term or budget."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

import dynpool
from dynpool.cost import seconds_of
from dynpool.graph import deep_copy
from dynpool.size_math import PerAxis

from .budget import Budget, settle
from .config import RunConfig
from .errors import ConfigError

__all__ = ["RunLatency"]


class RunLatency:
    """Milliseconds of a pass of a run's network on the device of the run; called, with a gradient to the alphas.

    Args:
        model: the prepared network.
        config: of the run.
        input_size: (C, H, W), (C, L) or (C, D, H, W) in pixels.
        predicted: whether milliseconds at other sizes are asked for, too.
    """

    def __init__(self, model: nn.Module, config: RunConfig, input_size: tuple[int, ...], *, predicted: bool) -> None:
        self.model, self.config, self.input_size, self.predicted = model, config, input_size, predicted
        self.device, self.processes = torch.device("cpu"), 1
        self.predictor: dynpool.LatencyModel | None = None
        self.budget: Budget | None = None

    def start(self, device: torch.device, processes: int, measurements: Mapping[str, Any] | None = None) -> None:
        """Measure the network at some sizes, if they are asked for. All processes take the figures of the first.

        Args:
            device: of the run.
            processes: of the run; all of them must call this.
            measurements: those of the run before it was stopped, instead of new ones.

        Raises:
            ConfigError: if the network cannot be measured, the measurements are of another one, or the budget is out of
                reach.
        """
        self.device, self.processes = device, processes
        if not self.predicted:
            return
        settings = self.config.latency
        try:
            self.predictor = self._measured() if measurements is None else self._read(measurements)
            if settings.budget is not None:
                self.budget = Budget(
                    self.model, self.input_size, settings.budget, key="latency.budget", cost=self, unit="ms",
                    accepted=measurements is not None,
                )  # fmt: skip
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"latency: {error}") from error

    def _measured(self) -> dynpool.LatencyModel:
        """A model of the latency around the present sizes; in all processes by the measurements of the first."""
        return self._measure() if self.processes == 1 else self._read(self._shared())

    def _read(self, measurements: Mapping[str, Any]) -> dynpool.LatencyModel:
        batch = self.config.latency.batch
        return dynpool.LatencyModel(self.model, self.input_size, batch=batch, measurements=measurements)

    def _measure(self) -> dynpool.LatencyModel:
        settings = self.config.latency
        return dynpool.LatencyModel(
            self.model,
            self.input_size,
            device=self.device,
            batch=settings.batch,
            configurations=settings.configurations,
            repeats=settings.repeats,
            seed=self.config.seed,
        )

    def _shared(self) -> dict[str, Any]:
        """The measurements of the first process."""
        found: list[Any] = [None]
        if torch.distributed.get_rank() == 0:
            try:
                found = [self._measure().to_dict()]
            except ValueError as error:
                found = [str(error)]
        broadcast_object_list(found)
        if isinstance(found[0], str):
            raise ConfigError(f"latency: {found[0]}")
        measurements: dict[str, Any] = found[0]
        return measurements

    def to_dict(self) -> dict[str, Any] | None:
        """The measurements for a checkpoint; None if there are none."""
        return None if self.predictor is None else self.predictor.to_dict()

    def value(self, alphas: Sequence[PerAxis] | None = None) -> float:
        """Milliseconds at the current or the given values of the alphas, as predicted."""
        return 1e3 * self._started().value(alphas)

    def __call__(self) -> Tensor:
        """Predicted milliseconds as a float32 scalar tensor on the alphas' device."""
        return 1e3 * self._started()()

    def _started(self) -> dynpool.LatencyModel:
        if self.predictor is None:
            raise RuntimeError("the latency of the run is not measured yet: call start first")
        return self.predictor

    def pull(self) -> Tensor:
        """The term that pulls the latency towards its budget, see `Budget.pull`."""
        return self._budget().pull()

    def settle(self) -> None:
        """Set the alphas to nearby sizes that meet the budget.

        The first measurements can be of much smaller or larger maps: the network is measured again at the sizes found.
        """
        settle(self._budget())
        self.predictor = self._measured()
        settle(self._budget())

    def _budget(self) -> Budget:
        if self.budget is None:
            raise RuntimeError("the run has no budget of milliseconds, or is not started yet")
        return self.budget

    def measured(self) -> float:
        """Milliseconds of a pass at the present sizes: the median of some passes of a copy in eval mode."""
        device = self.device
        copied = deep_copy(self.model).to(device).eval()
        generator = torch.Generator().manual_seed(self.config.seed)
        images = torch.randn(self.config.latency.batch, *self.input_size, generator=generator).to(device)
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            copied(images)  # memory is allocated, kernels are compiled
            passes = [seconds_of(lambda: copied(images), device) for _ in range(self.config.latency.repeats)]
        return 1e3 * statistics.median(passes)
