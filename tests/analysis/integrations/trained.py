"""Training with the real packages, and the scalars that it drew."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dynpool

SIZE = (3, 16, 12)


def tensorboard_scalars(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def assert_lightning_logs(
    pl: Any, kind: type, network: Any, batch: tuple[Tensor, Tensor], folder: Path, read_log: Any
) -> None:
    """Two epochs of Lightning with the callback: a line at each, drawn by its logger as well.

    Args:
        pl: the package, `lightning.pytorch` or `pytorch_lightning`.
        kind: the class of the callback.
        network, batch, folder, read_log: the fixtures of these tests, and where to write.
    """
    base: Any = pl.LightningModule

    class Classifier(base):
        def __init__(self):
            super().__init__()
            self.network = network

        def training_step(self, batch, index):
            images, labels = batch
            return nn.functional.cross_entropy(self.network(images), labels)

        def configure_optimizers(self):
            groups = dynpool.parameter_groups(self.network, lr=0.1, alpha_lr=300)
            return torch.optim.SGD(groups)

    callback = kind(SIZE, folder / "log", module="network")
    assert isinstance(callback, pl.Callback)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[callback],
        logger=pl.loggers.TensorBoardLogger(str(folder), name="tb", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few workers, too few batches
        trainer.fit(Classifier(), DataLoader(TensorDataset(*batch), batch_size=4))
    log = read_log(folder / "log")
    assert [line["step"] for line in log] == [0, 2, 4]
    assert log[0]["i_min"] == [8.0, 8.0]
    assert log[2]["alphas"]["2"] == pytest.approx(network[2].alpha.tolist())
    assert log[2]["alphas"] != log[0]["alphas"]
    drawn = tensorboard_scalars(folder / "tb", "i_min/height")
    assert drawn == [(line["step"], pytest.approx(line["i_min"][0])) for line in log]
