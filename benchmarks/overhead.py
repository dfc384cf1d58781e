"""The overhead of learned sizes in a training step: the GMACs loss and I_min tracking.

    python benchmarks/overhead.py [--threads 2] [--repeats 20]

All figures are ratios of times measured in the same run. Results are appended to benchmarks/results/overhead.csv.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.appending import append, check_columns
from benchmarks.checkout import commit
from dynpool.analysis import IMinTracker
from dynpool.training.models import MODELS

RESULTS = Path(__file__).parent / "results" / "overhead.csv"
COLUMNS = ["what", "detail", "ratio", "machine", "threads", "torch", "commit"]


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call in seconds, after a warm-up call."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def training_step(model: nn.Module, x: Tensor, loss: dynpool.GMACsLoss | None) -> Callable[[], None]:
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, lr=1e-3, alpha_lr=1e-3), momentum=0.9)
    labels = torch.zeros(len(x), dtype=torch.long)

    def step() -> None:
        optimizer.zero_grad()
        total = F.cross_entropy(model(x), labels)
        (total if loss is None else total + loss()).backward()
        optimizer.step()
        dynpool.constrain(model)

    return step


def loss_alone(loss: dynpool.GMACsLoss) -> Callable[[], None]:
    def call() -> None:
        with torch.no_grad():
            for pool in loss.owners:
                pool.shared_alpha().add_(1e-6)  # as after a step: the value is computed anew
        loss().backward()

    return call


def rows(repeats: int) -> list[tuple[str, str, float]]:
    found = []
    for name, batch in (("narrow-vgg", 64), ("cifar-resnet", 16)):
        torch.manual_seed(0)
        model = dynpool.convert(MODELS[name](num_classes=10), (3, 32, 32))
        loss = dynpool.GMACsLoss(model, (3, 32, 32))
        step = seconds(training_step(model, torch.randn(batch, 3, 32, 32), None), max(repeats // 4, 3))
        share = seconds(loss_alone(loss), repeats) / step
        found.append((f"GMACs loss / step of {name}, batch {batch}", f"{step * 1e3:.1f} ms a step", share))
    resnet = dynpool.convert(torchvision.models.resnet50(), (3, 224, 224))
    with tempfile.TemporaryDirectory() as folder:
        tracker = IMinTracker(resnet, (3, 224, 224), Path(folder) / "i_min.jsonl")
        log = seconds(lambda: tracker.log(0), 5 * repeats)
    trace = seconds(lambda: dynpool.trace(resnet, (3, 224, 224)), 3)
    found.append(("IMinTracker.log / trace of ResNet-50", f"{log * 1e3:.2f} ms a log", log / trace))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check_columns(RESULTS, COLUMNS)
    machine = f"{platform.machine()} {platform.system()}"
    made = {"machine": machine, "threads": options.threads, "torch": torch.__version__, "commit": commit()}
    for what, detail, ratio in rows(options.repeats):
        print(f"{ratio:8.4f}  {what} ({detail})")
        append(RESULTS, COLUMNS, [{"what": what, "detail": detail, "ratio": f"{ratio:.5f}", **made}])


if __name__ == "__main__":
    main()
