"""I_min tracked inside the real Lightning, transformers, accelerate and TensorBoard."""

import warnings
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter

import dynpool
from dynpool.analysis.integrations.accelerate import AcceleratedIMin

SIZE = (3, 16, 12)


def tensorboard_scalars(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning(package, network, batch, tmp_path, read_log):
    pl = pytest.importorskip(package)
    module = pytest.importorskip(f"dynpool.analysis.integrations.{package.split('.')[0]}")

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

    loggers = pytest.importorskip(f"{package}.loggers")
    callback = module.IMinCallback(SIZE, tmp_path / "log", module="network")
    assert isinstance(callback, pl.Callback)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[callback],
        logger=loggers.TensorBoardLogger(str(tmp_path), name="tb", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few workers, too few batches
        trainer.fit(Classifier(), DataLoader(TensorDataset(*batch), batch_size=4))
    log = read_log(tmp_path / "log")
    assert [line["step"] for line in log] == [0, 2, 4]
    assert log[0]["i_min"] == [8.0, 8.0]
    assert log[2]["alphas"]["2"] == pytest.approx(network[2].alpha.tolist())
    assert log[2]["alphas"] != log[0]["alphas"]
    drawn = tensorboard_scalars(tmp_path / "tb", "i_min/height")
    assert drawn == [(line["step"], pytest.approx(line["i_min"][0])) for line in log]


class Images(torch.utils.data.Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def test_hugging_face_trainer(batch, tmp_path, read_log):
    transformers = pytest.importorskip("transformers")
    from dynpool.analysis.integrations.transformers import IMinCallback

    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic", "num_labels": 2}
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes))
    model = dynpool.convert(model, SIZE)
    writer = SummaryWriter(str(tmp_path / "tb"))
    callback = IMinCallback(SIZE, tmp_path / "log", every=2, writer=writer)
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"), max_steps=5, per_device_train_batch_size=4, use_cpu=True, report_to=[],
        save_strategy="no", learning_rate=10.0, disable_tqdm=True,
    )  # fmt: skip
    transformers.Trainer(model, arguments, train_dataset=Images(*batch), callbacks=[callback]).train()
    writer.close()
    log = read_log(tmp_path / "log")
    assert [line["step"] for line in log] == [0, 2, 4]
    assert log[0]["alphas"] != log[2]["alphas"]
    assert all(0 < alpha < 100 for line in log for pair in line["alphas"].values() for alpha in pair)
    assert tensorboard_scalars(tmp_path / "tb", "gmacs") == [
        (line["step"], pytest.approx(line["gmacs"])) for line in log
    ]


def test_accelerate(network, batch, tmp_path, read_log):
    accelerator = Accelerator(
        cpu=True, log_with="tensorboard", project_dir=str(tmp_path), gradient_accumulation_steps=2
    )
    accelerator.init_trackers("tb")
    optimizer = torch.optim.SGD(dynpool.parameter_groups(network, lr=0.1, alpha_lr=300))
    model, optimizer = accelerator.prepare(network, optimizer)
    i_min = AcceleratedIMin(accelerator, model, SIZE, tmp_path / "log")
    returned = []
    for _ in range(4):
        with accelerator.accumulate(model):
            images, labels = batch
            accelerator.backward(nn.functional.cross_entropy(model(images), labels))
            optimizer.step()
            optimizer.zero_grad()
            returned.append(i_min.step())
    accelerator.end_training()
    log = read_log(tmp_path / "log")
    assert [line["step"] for line in log] == [0, 1, 2], "two batches make a step"
    assert [line is None for line in returned] == [True, False, True, False]
    assert log[2]["alphas"]["2"] == pytest.approx(network[2].alpha.tolist())
    drawn = tensorboard_scalars(tmp_path / "tb", "i_min/width")
    assert drawn == [(line["step"], pytest.approx(line["i_min"][1])) for line in log]
