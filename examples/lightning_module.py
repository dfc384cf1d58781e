"""Learn sizes with Lightning; the callback constrains the alphas and logs sizes, GMACs and I_min.

Usage: python examples/lightning_module.py [EPOCHS]
"""

import sys

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dynpool
from dynpool.analysis.integrations.lightning import IMinCallback

SIZE = (1, 16, 16)


class Classifier(lightning.LightningModule):
    def __init__(self, network: nn.Module, gmacs_weight: float = 10.0) -> None:
        super().__init__()
        self.network = dynpool.convert(network, SIZE)
        self.gmacs = dynpool.GMACsLoss(self.network, SIZE)
        self.gmacs_weight = gmacs_weight

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels) + self.gmacs_weight * self.gmacs()

    def test_step(self, batch: list[torch.Tensor], index: int) -> None:
        images, labels = batch
        self.log("accuracy", (self.network(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # alphas: a learning rate of their own, no weight decay
        return torch.optim.AdamW(dynpool.parameter_groups(self.network, lr=0.01, alpha_lr=0.03))


def main(epochs: int = 2) -> None:
    lightning.seed_everything(0)
    data = load_digits()
    images = nn.functional.interpolate(torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, SIZE[1:])
    digits = TensorDataset(images, torch.tensor(data.target))
    train, test = torch.utils.data.Subset(digits, range(1500)), torch.utils.data.Subset(digits, range(1500, 1797))
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    classifier = Classifier(nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 10)))
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, log_every_n_steps=1,
        callbacks=[IMinCallback(SIZE, "i_min.jsonl", module="network")],  # calls dynpool.constrain after every step
    )  # fmt: skip
    trainer.fit(classifier, DataLoader(train, batch_size=64, shuffle=True))
    trainer.test(classifier, DataLoader(test, batch_size=297))
    plain = dynpool.freeze(classifier.network.eval())
    print(dynpool.freeze_report(plain))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
