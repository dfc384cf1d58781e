"""Sums over the images of an epoch, from which its means are computed."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from .tasks import Task

__all__ = ["Totals"]


@dataclass
class Totals:
    """Sums over the images of an epoch, kept on the device: (task loss, penalty, counts of the task ..., images)."""

    sums: Tensor
    task: Task

    @staticmethod
    def empty(task: Task, device: torch.device | None = None) -> Tensor:
        """The sums before the first image."""
        return torch.zeros(3 + task.counts, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, counts: Tensor, images: int, weight: Tensor | float | None = None) -> None:
        """Add the mean loss and the counts of so many images; the loss counts as `weight` images, if given."""
        self.sums[0] += loss.detach().double() * (images if weight is None else weight)
        self.sums[2:-1] += counts
        self.sums[-1] += images

    def add_penalty(self, penalty: Tensor, images: int) -> None:
        self.sums[1] += penalty.detach().double() * images

    def means(self, accelerator: Accelerator) -> tuple[float, float, dict[str, float]]:
        """(task loss, penalty, figures of the task) over all processes.

        The only synchronisation with the host in an epoch.
        """
        sums = self.sums if accelerator.num_processes == 1 else accelerator.reduce(self.sums, "sum")
        sums = sums.cpu()
        loss, penalty, images = float(sums[0]), float(sums[1]), float(sums[-1])
        return loss / images, penalty / images, self.task.figures(sums[2:-1], images)
