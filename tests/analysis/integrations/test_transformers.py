"""I_min tracked inside the real trainer of transformers, and drawn by TensorBoard."""

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

import dynpool
from tests.analysis.integrations.trained import tensorboard_scalars

SIZE = (3, 16, 12)


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
