"""What a part is told: the device, how long it has, and where its rows go."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """What a part is told.

    Attributes:
        out: folder of the rows.
        device: "cuda" or "cpu".
        tiny: a few small maps and networks only, so that everything runs on a CPU in minutes.
        until: when the part should be done, in seconds since the epoch; soon after, it is killed.
        images: archive or folder of the images of CIFAR-10, if given.
    """

    out: Path
    device: Literal["cuda", "cpu"]
    tiny: bool
    until: float
    images: Path | None = None

    def left(self) -> float:
        """Seconds until the part should be done."""
        return self.until - time.time()

    def flags(self) -> list[str]:
        """The same as options of a part's process."""
        flags = ["--out", str(self.out), "--device", self.device, "--until", repr(self.until)]
        images = [] if self.images is None else ["--images", str(self.images)]
        return [*flags, *["--tiny"] * self.tiny, *images]
