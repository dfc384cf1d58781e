"""Sums over the images of an epoch, from which its means are computed."""

from dataclasses import dataclass

from accelerate import Accelerator
from torch import Tensor

__all__ = ["Totals"]


@dataclass
class Totals:
    """Sums over the images of an epoch, kept on the device: (task loss, penalty, correct, images)."""

    sums: Tensor

    def add(self, task: Tensor, correct: Tensor, images: int) -> None:
        self.sums[0] += task.detach().double() * images
        self.sums[2] += correct
        self.sums[3] += images

    def add_penalty(self, penalty: Tensor, images: int) -> None:
        self.sums[1] += penalty.detach().double() * images

    def means(self, accelerator: Accelerator) -> tuple[float, float, float]:
        """(task loss, penalty, accuracy) over all processes. The only synchronisation with the host in an epoch."""
        sums = self.sums if accelerator.num_processes == 1 else accelerator.reduce(self.sums, "sum")
        task, penalty, correct, images = sums.tolist()
        return task / images, penalty / images, correct / images
