"""Time and memory of what `dynpool.analysis` measures of trained layers, each in a process of its own.

    python -m benchmarks.representations

A narrow VGG of six layers on digits of 32x32 pixels, one thread. Writes benchmarks/results/representations.csv: CPU
seconds of the measure, and the peak of resident memory over that after one pass of the network.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynpool.analysis import cka, hessian_eigenvalues, inspect, pruning_curve
from dynpool.training.config_sections import DataConfig
from dynpool.training.data import load_data
from dynpool.training.models import narrow_vgg

RESULTS = Path(__file__).parent / "results" / "representations.csv"
IMAGES, HELD_OUT = 512, 256
Batches = list[tuple[Tensor, Tensor]]


def _accuracy(batches: Batches) -> Callable[[nn.Module], float]:
    return lambda model: sum(int((model(x).argmax(1) == y).sum()) for x, y in batches) / HELD_OUT


def _measures(net: nn.Module, other: nn.Module, train: Batches, test: Batches) -> dict[str, Callable[[], Any]]:
    few = [(x[:64], y[:64]) for x, y in train[:1]]
    return {
        "one pass": lambda: [net(x) for x, _ in train],
        "saturation": lambda: inspect(net, train, test, probes=False),
        "probes": lambda: inspect(net, train, test, saturation=False),
        "heat map of 64 positions": lambda: inspect(
            net, train, test, layers=["8"], probes=False, saturation=False, heatmaps=["8"]
        ),
        "CKA, exact": lambda: cka(net, other, train),
        "CKA, unbiased": lambda: cka(net, other, train, unbiased=True),
        "pruning, 5 amounts": lambda: pruning_curve(net, [0.5, 0.6, 0.7, 0.8, 0.9], _accuracy(test)),
        "Hessian, 20 eigenvalues, 64 images": lambda: hessian_eigenvalues(net, few, k=20, tol=1e-3),
        "Hessian, 90 eigenvalues, 64 images": lambda: hessian_eigenvalues(net, few, k=90, tol=1e-3),
    }


def _measure(name: str | None) -> list[str] | dict[str, float]:
    """The names of all measures, or CPU seconds and mebibytes of one."""
    torch.set_num_threads(1)
    data = load_data(DataConfig(name="digits", resolution=32))
    train = list(data.train.batches(128, seed=0))[: IMAGES // 128]
    test = list(data.test.batches(128, seed=0))[: HELD_OUT // 128]
    torch.manual_seed(0)
    net, other = (narrow_vgg(10, 1, widths=[16, 16, 32, 32, 64]).eval() for _ in range(2))
    measures = _measures(net, other, train, test)
    if name is None:
        return list(measures)
    with torch.no_grad():
        net(train[0][0])
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    measures[name]()
    seconds = time.process_time() - start
    return {"seconds": seconds, "mebibytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", help="one of them, in this process: prints JSON")
    measure = parser.parse_args().measure
    if measure is not None:
        print(json.dumps(_measure(measure)))
        return
    rows = []
    for name in _measure(None):
        command = [sys.executable, "-m", "benchmarks.representations", "--measure", name]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        found = {key: f"{value:.3g}" for key, value in json.loads(said).items()}
        rows.append({"measure": name, **found, "machine": platform.machine(), "torch": torch.__version__})
        print(rows[-1], flush=True)
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
