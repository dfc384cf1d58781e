"""Learn the sizes of a timm model, with timm's own optimiser and schedule.

Usage: python examples/timm_model.py [MODEL [STEPS]]
"""

import sys

import timm
import torch
from sklearn.datasets import load_digits
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn

import dynpool

SIZE = (3, 32, 32)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's digits in three channels, enlarged from 8x8 pixels."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1).expand(-1, 3, -1, -1) / 8 - 1
    return nn.functional.interpolate(images, SIZE[1:]), torch.tensor(data.target)


def main(name: str = "resnet10t", count: str = "30") -> None:
    steps = int(count)
    torch.manual_seed(0)
    images, labels = digits()
    # Random weights. With pretrained=True, add preserve=True below: the model then starts as the function it was.
    network = timm.create_model(name, num_classes=10)
    model = dynpool.convert(network, SIZE, order="before")  # "before": at first it costs what the original does
    print(dynpool.conversion_report(model))
    # timm takes parameter groups: that of the alphas has a learning rate of its own and no weight decay.
    groups = dynpool.parameter_groups(model, lr=5e-3, alpha_lr=3e-2, weight_decay=0.05)
    optimizer = create_optimizer_v2(groups, opt="adamw", lr=5e-3, weight_decay=0.05)
    schedule = CosineLRScheduler(optimizer, t_initial=steps, lr_min=1e-6, t_in_epochs=False)
    gmacs = dynpool.GMACsLoss(model, SIZE)
    cost = gmacs().item()
    for step in range(steps):
        batch = torch.randint(1500, (32,))
        # relative to the designed cost, so that the weight means the same for every model
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch]) + 0.5 * gmacs() / cost
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        dynpool.constrain(model)
        schedule.step_update(step + 1)
    print(dynpool.sizes(model, SIZE), f"{gmacs().item() / cost:.2f} of the designed cost")
    plain = dynpool.freeze(model.eval())  # weights keep timm's names
    with torch.no_grad():
        right = plain(images[1500:]).argmax(1) == labels[1500:]
    print(f"test accuracy {right.float().mean():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
