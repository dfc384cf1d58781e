"""The sensitivity of a run's loss to its learned sizes, for its log and for `dynpool sensitivity`."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import dynpool

from .config import RunConfig
from .data import Split
from .errors import ConfigError
from .objective import task_loss

__all__ = ["LOGGED_BATCHES", "RunBatches", "run_sensitivity"]

LOGGED_BATCHES = 8  # in each line of a run's log


class RunBatches:
    """Batches of a run's images: drawn from its seed, always the same, of its batch size, without augmentation.

    Args:
        images: a split of the run's data.
        config: the run.
        most: number of batches; all that the split has if it has fewer. An incomplete last one is left out, unless it
            is the only one.
        before_each: called before each batch.
    """

    def __init__(
        self, images: Split, config: RunConfig, most: int, before_each: Callable[[], None] | None = None
    ) -> None:
        self.images, self.config, self.before_each = images, config, before_each
        self.number = min(most, max(len(images) // config.batch_size, 1))

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        drawn = self.images.batches(self.config.batch_size, seed=self.config.seed)
        for _, (images, labels) in zip(range(self.number), drawn, strict=False):
            if self.before_each is not None:
                self.before_each()
            yield (
                (images.contiguous(memory_format=torch.channels_last) if self.config.channels_last else images),
                labels,
            )


def run_sensitivity(
    model: nn.Module,
    batches: RunBatches,
    *,
    steps: tuple[int, ...] = (1, 2, 4),
    training: bool = False,
    progress: Callable[[int, int | None], object] | None = None,
) -> "dynpool.SensitivityReport":
    """The sensitivity of a run's task loss, without mixed images and without its GMACs term.

    Args:
        model: the network of the run.
        batches: what to measure on.
        steps, training, progress: see `dynpool.size_sensitivity`.

    Raises:
        ConfigError: if no size of the network can move.
    """
    config = batches.config
    try:
        return dynpool.size_sensitivity(
            model, batches, task_loss(config), steps=steps, training=training, progress=progress
        )
    except ValueError as error:
        raise ConfigError(
            f"the sizes of {config.name} (method {config.method!r}) cannot be measured: {error}"
        ) from error
