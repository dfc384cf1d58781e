"""Check of the training run: one epoch in bfloat16 and channels_last, ended in the middle and resumed."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.checking import require
from benchmarks.gpu.context import Context

__all__ = ["one_epoch_resumed"]


class _Ending:
    """Ends the process as a scheduler would, in the middle of the epoch."""

    def __init__(self) -> None:
        self.images, self.left = 0, 0

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """Half of an epoch is to be trained."""
        self.left = images // 2

    def advance(self, images: int) -> None:
        """Images that have been trained on; half of them ask for the end."""
        self.images += images
        if self.images >= self.left > 0:
            self.left = 0
            os.kill(os.getpid(), signal.SIGTERM)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch has been saved."""


def one_epoch_resumed(context: Context) -> str:
    """What `dynpool train` does: the run ended by SIGTERM and resumed ends like the one that was left alone."""
    from dynpool.training.config import RunConfig
    from dynpool.training.config_sections import DataConfig, ModelConfig
    from dynpool.training.errors import StoppedError
    from dynpool.training.loop import train

    with tempfile.TemporaryDirectory() as folder:
        widths = [8, 8, 8] if context.tiny else [16, 16, 32, 32, 64]
        common: dict[str, Any] = {
            "model": ModelConfig(name="narrow-vgg", options={"widths": widths}),
            "data": DataConfig(name="digits", resolution=16 if context.tiny else 32, cache=folder),
            "epochs": 1, "lr": 0.05, "alpha_lr": 0.3, "precision": "bf16", "channels_last": True,
            "device": context.device,
        }  # fmt: skip
        whole = train(RunConfig(name="whole", out=str(Path(folder) / "whole"), **common))
        config = RunConfig(name="resumed", out=str(Path(folder) / "resumed"), **common)
        try:
            train(config, reporter=_Ending())
        except StoppedError:
            resumed = train(config, resume=True)
        else:
            require(False, "SIGTERM did not end the run")
    accuracies = [float(figures["test_accuracy"]) for figures in (whole, resumed)]
    require(resumed["epochs"] == 1, f"{resumed['epochs']} epochs were trained, not 1")
    require(abs(accuracies[0] - accuracies[1]) < 0.05, f"test accuracies {accuracies} of whole and resumed")
    return f"test accuracy {accuracies[0]:.4f} whole, {accuracies[1]:.4f} resumed"
