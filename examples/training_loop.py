"""Learn the sizes of a network's feature maps in a plain PyTorch loop, then leave the library.

Usage: python examples/training_loop.py [EPOCHS]
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dynpool

SIZE = (1, 16, 16)  # channels, height, width
GMACS_WEIGHT = 10.0  # accuracy against cost: larger values make smaller maps


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Training and test images of scikit-learn's digits, enlarged from 8x8 pixels."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    images, labels = nn.functional.interpolate(images, SIZE[1:]), torch.tensor(data.target)
    return TensorDataset(images[:1500], labels[:1500]), TensorDataset(images[1500:], labels[1500:])


def block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())


def main(epochs: int = 3) -> None:
    torch.manual_seed(0)
    train, test = digits()
    layers = [block(1, 8), nn.MaxPool2d(2), block(8, 16), nn.MaxPool2d(2), block(16, 32)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    model = dynpool.convert(network, SIZE)  # a copy; its pools now have learned strides, called alpha
    # Alphas get a learning rate of their own and no weight decay, which would pull them towards 0.
    optimizer = torch.optim.AdamW(dynpool.parameter_groups(model, lr=0.01, alpha_lr=0.03, weight_decay=0.01))
    gmacs = dynpool.GMACsLoss(model, SIZE)  # differentiable cost: without it, nothing keeps maps from growing
    print("before:", dynpool.sizes(model, SIZE), f"{gmacs().item():.5f} GMACs")
    for epoch in range(epochs):
        for images, labels in DataLoader(train, batch_size=64, shuffle=True):
            loss = nn.functional.cross_entropy(model(images), labels) + GMACS_WEIGHT * gmacs()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            dynpool.constrain(model)  # after every step: keeps each alpha finite and in its bounds
        print(f"epoch {epoch + 1}:", dynpool.sizes(model, SIZE), f"{gmacs().item():.5f} GMACs")
    plain = dynpool.freeze(model.eval())  # fixed sizes, no alphas: an ordinary module to save, compile or export
    images, labels = test.tensors
    with torch.no_grad():
        print(f"test accuracy {(plain(images).argmax(1) == labels).float().mean():.3f}")
    torch.save(plain.state_dict(), "digits.pt")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
