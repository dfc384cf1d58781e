"""Learn the sizes of a network of transformers with Hugging Face's Trainer.

Usage: python examples/transformers_trainer.py [STEPS]
"""

import sys
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

import dynpool
from dynpool.analysis.integrations.transformers import IMinCallback

SIZE = (3, 32, 32)


def collate(samples: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    images, labels = zip(*samples, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.stack(labels)}


class CostAwareTrainer(Trainer):  # adds the differentiable cost of the sizes to the loss
    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, *rest: Any, **more: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, *rest, **more)
        loss = loss + 3.0 * self.gmacs()
        return (loss, outputs) if return_outputs else loss


def main(steps: int = 60) -> None:
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1).expand(-1, 3, -1, -1) / 8 - 1
    digits = TensorDataset(nn.functional.interpolate(images, SIZE[1:]), torch.tensor(data.target))
    torch.manual_seed(0)
    # From a configuration, with random weights. Of from_pretrained(...), convert with preserve=True.
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=10)
    model = dynpool.convert(ResNetForImageClassification(config), SIZE, order="before")
    optimizer = torch.optim.AdamW(dynpool.parameter_groups(model, lr=5e-3, alpha_lr=3e-2, weight_decay=0.05))
    arguments = TrainingArguments(
        "out", max_steps=steps, per_device_train_batch_size=32, use_cpu=True, report_to="none", save_strategy="no",
        remove_unused_columns=False, logging_steps=10,
    )  # fmt: skip
    trainer = CostAwareTrainer(
        model, arguments, data_collator=collate, train_dataset=torch.utils.data.Subset(digits, range(1500)),
        optimizers=(optimizer, None),  # with groups of its own for the alphas; None: the trainer's schedule
        callbacks=[IMinCallback(SIZE, "i_min.jsonl")],  # calls dynpool.constrain after every step
    )  # fmt: skip
    trainer.gmacs = dynpool.GMACsLoss(model, SIZE)
    trainer.train()
    logits, labels, _ = trainer.predict(torch.utils.data.Subset(digits, range(1500, 1797)))
    print(f"test accuracy {(logits.argmax(1) == labels).mean():.3f}")
    print(dynpool.freeze_report(dynpool.freeze(model.eval())))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
