"""Freeze a network with learned sizes, export it to ONNX, and run it with ONNX Runtime.

Usage: python examples/onnx_runtime.py [FILE]
"""

import sys

import onnxruntime
import torch
from sklearn.datasets import load_digits
from torch import nn

import dynpool

SIZE = (1, 16, 16)


def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A converted network after a few steps, and test images with their labels; see training_loop.py."""
    torch.manual_seed(0)
    data = load_digits()
    images = nn.functional.interpolate(torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, SIZE[1:])
    labels = torch.tensor(data.target)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    model = dynpool.convert(nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 10)), SIZE)
    optimizer = torch.optim.AdamW(dynpool.parameter_groups(model, lr=0.01, alpha_lr=0.03))
    gmacs = dynpool.GMACsLoss(model, SIZE)
    for _ in range(60):
        batch = torch.randint(1500, (64,))
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch]) + 10 * gmacs()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        dynpool.constrain(model)
    return model, images[1500:], labels[1500:]


def main(file: str = "digits.onnx") -> None:
    model, images, labels = trained()
    plain = dynpool.freeze(model.eval())  # no alphas and no operator of this library are left
    print(dynpool.freeze_report(plain))
    # The number of images stays free; height and width are fixed to those of the example.
    shapes = ({0: torch.export.Dim("images")},)
    torch.onnx.export(
        plain, (images[:2],), file, dynamo=True, external_data=False, dynamic_shapes=shapes, input_names=["image"]
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        difference = (torch.from_numpy(logits) - plain(images)).abs().max().item()
    right = (torch.from_numpy(logits).argmax(1) == labels).float().mean().item()
    print(f"{file}: test accuracy {right:.3f}, at most {difference:.1e} from PyTorch")


if __name__ == "__main__":
    main(*sys.argv[1:])
