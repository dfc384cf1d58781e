"""MACs, CPU seconds and memory of `count_macs` beside other counters, on twelve models.

    python -m benchmarks.counters [--models resnet50 ...] [--counters dynpool torchinfo ...] [--out FILE] [--table]

Counters are torchinfo, fvcore, ptflops, thop and torch.utils.flop_counter; those that are not installed are named and
left out. Each count runs in a process of its own with one thread, on a model with random weights in eval mode and one
input of zeros. Seconds are CPU seconds of the count alone, megabytes the growth of the resident memory to its peak
meanwhile; the model exists before, and the counter has counted a small model. The column `hand` is a count by the
formulas of the textbook, without any counter: see `hand_count`. What counts floating-point operations is halved.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import importlib.util
import io
import math
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks.checkout import commit

RESULTS = Path(__file__).parent / "results" / "counters.csv"
FORK = get_context("fork")  # Linux: what is imported need not be imported again
COLUMNS = ["model", "counter", "version", "macs", "hand", "cpu_seconds", "megabytes", "error", "torch", "commit"]


# --- models -----------------------------------------------------------------------------------------------------------


class Functional(nn.Module):
    """Layers called as functions: convolutions, a linear layer, products by `@`, `matmul` and `einsum`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(32, 3, 3, 3))
        self.second = nn.Parameter(torch.zeros(64, 16, 3, 3))
        self.up = nn.Parameter(torch.zeros(64, 32, 2, 2))
        self.mix = nn.Parameter(torch.zeros(32, 48))
        self.head = nn.Parameter(torch.zeros(10, 48))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.first, stride=2, padding=1))
        x = F.relu(F.conv2d(x, self.second, stride=2, padding=2, dilation=2, groups=2))
        x = F.conv_transpose2d(x, self.up, stride=2)
        x = torch.einsum("nchw,cd->ndhw", x, self.mix)
        tokens = F.avg_pool2d(x, 4).flatten(2).mT
        weights = torch.softmax(tokens @ tokens.mT, -1)
        return F.linear(torch.matmul(weights, tokens).mean(1), self.head)


class Reader(nn.Module):
    """A convolution and a bidirectional LSTM of two layers over its columns, as in text recognition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 64, 3, stride=2, padding=1)
        self.lstm = nn.LSTM(64 * 16, 128, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(256, 80)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(F.relu(self.conv(x)).flatten(1, 2).mT)[0])
        return out


def _torchvision(name: str) -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.get_model(name)
    return model


def _timm(name: str) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name)
    return model


IMAGE = (3, 224, 224)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{
        name: (lambda name=name: _torchvision(name), IMAGE)  # type: ignore[misc]
        for name in ("vgg16", "resnet50", "densenet121", "mobilenet_v3_large", "resnext50_32x4d")
    },
    "deeplabv3_resnet50": (
        lambda: __import__("torchvision").models.segmentation.deeplabv3_resnet50(weights_backbone=None), IMAGE
    ),
    **{
        name: (lambda name=name: _timm(name), IMAGE)  # type: ignore[misc]
        for name in ("efficientnet_b0", "vit_small_patch16_224", "swin_tiny_patch4_window7_224")
    },
    "r3d_18": (lambda: _torchvision("r3d_18"), (3, 16, 112, 112)),
    "functional": (Functional, (3, 128, 128)),
    "reader": (Reader, (1, 32, 256)),
}  # fmt: skip


# --- the count by hand ------------------------------------------------------------------------------------------------


class _Hand(TorchFunctionMode):
    """Adds up the MACs of the calls of PyTorch's functions by the formulas of the textbook."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("conv1d", "conv2d", "conv3d"):  # each output: input channels of its group x kernel
            self.macs += out.numel() * math.prod(args[1].shape[1:])
        elif name == "conv_transpose2d":  # each input: output channels of its group x kernel
            self.macs += args[0].numel() * math.prod(args[1].shape[1:])
        elif name in ("linear", "matmul", "__matmul__"):
            self.macs += out.numel() * args[0].shape[-1]
        elif name == "scaled_dot_product_attention":  # queries x keys x width, twice
            query, key, value = args[:3]
            self.macs += math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        elif name == "einsum":  # the one above: sums over c
            self.macs += out.numel() * args[-1].shape[0]
        elif name == "lstm":  # every weight once for each step
            steps = args[0].shape[0] * args[0].shape[1]
            self.macs += steps * sum(w.numel() for w in args[2] if w.ndim == 2)
        return out


@torch.no_grad()
def hand_count(model: nn.Module, x: Tensor) -> int:
    """MACs of one pass by hand: convolutions, linear layers, products, attention and LSTMs, each by its formula."""
    with _Hand() as hand:
        model(x)
    return hand.macs


# --- the counters -----------------------------------------------------------------------------------------------------


def _dynpool(model: nn.Module, x: Tensor) -> Callable[[], int]:
    from dynpool import count_macs

    return lambda: count_macs(model, tuple(x.shape[1:])).total


def _torchinfo(model: nn.Module, x: Tensor) -> Callable[[], int]:
    from torchinfo import summary

    return lambda: int(summary(model, input_data=x, verbose=0).total_mult_adds)


def _fvcore(model: nn.Module, x: Tensor) -> Callable[[], int]:
    from fvcore.nn import FlopCountAnalysis

    return lambda: int(
        FlopCountAnalysis(model, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    )


def _ptflops(model: nn.Module, x: Tensor) -> Callable[[], int]:
    from ptflops import get_model_complexity_info

    def count() -> int:
        with contextlib.redirect_stdout(io.StringIO()):
            found = get_model_complexity_info(
                model, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, verbose=False
            )
        return int(found[0])

    return count


def _thop(model: nn.Module, x: Tensor) -> Callable[[], int]:
    from thop import profile

    return lambda: int(profile(model, (x,), verbose=False)[0])


def _flop_counter(model: nn.Module, x: Tensor) -> Callable[[], int]:
    from torch.utils.flop_counter import FlopCounterMode

    def count() -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(x)
        return counter.get_total_flops() // 2

    return count


COUNTERS: dict[str, Callable[[nn.Module, Tensor], Callable[[], int]]] = {
    "dynpool": _dynpool,
    "torchinfo": _torchinfo,
    "fvcore": _fvcore,
    "ptflops": _ptflops,
    "thop": _thop,
    "flop_counter": _flop_counter,
}


def _megabytes(key: str) -> float:
    """Memory of this process on Linux in MB: VmRSS is the current, VmHWM the peak resident size."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def measure(model: nn.Module, x: Tensor, counter: str) -> dict[str, object]:
    """The count of a model by one counter, in this process."""
    warnings.filterwarnings("ignore")
    if counter == "hand":
        return {"macs": hand_count(model, x)}
    count = COUNTERS[counter](model, x)
    COUNTERS[counter](nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))()  # what is imported late, is now
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = _megabytes("VmRSS"), time.process_time()
    macs = count()
    seconds = time.process_time() - start
    return {"macs": macs, "cpu_seconds": f"{seconds:.2f}", "megabytes": f"{_megabytes('VmHWM') - before:.0f}"}


def in_a_process(model: nn.Module, x: Tensor, counter: str) -> dict[str, object]:
    """The count in a process that begins as a copy of this one."""
    results: SimpleQueue[dict[str, object]] = FORK.SimpleQueue()

    def run() -> None:
        try:
            results.put(measure(model, x, counter))
        except Exception as error:  # noqa: BLE001 - the error is the result
            results.put({"error": f"{type(error).__name__}: {error}".splitlines()[0][:150]})

    process = FORK.Process(target=run)
    process.start()
    found = results.get()
    process.join()
    return found


def version_of(counter: str) -> str:
    from importlib.metadata import version

    return version("torch" if counter == "flop_counter" else counter)


def table(rows: list[dict[str, str]]) -> str:
    """Counts relative to those by hand, and the medians of seconds and memory, as a table in Markdown."""
    counters = list(dict.fromkeys(row["counter"] for row in rows))
    found = {(row["model"], row["counter"]): row for row in rows}
    names = [f"{c} {found[rows[0]['model'], c]['version']}" if c != "flop_counter" else f"`{c}`" for c in counters]
    lines = [" | ".join(["model", "GMACs by hand", *names]), " | ".join(["---"] * (2 + len(names)))]
    for model in dict.fromkeys(row["model"] for row in rows):
        hand = int(found[model, counters[0]]["hand"])
        lines.append(" | ".join([model, f"{hand / 1e9:.3f}", *(_deviation(found[model, c], hand) for c in counters)]))
    for title, column in (("CPU seconds, median", "cpu_seconds"), ("MB, median", "megabytes")):
        values = ([float(row[column]) for row in rows if row["counter"] == c and row[column]] for c in counters)
        lines.append(" | ".join([title, "", *(f"{statistics.median(v):g}" for v in values)]))
    return "\n".join(f"| {line} |".replace("|  |", "| |") for line in lines)


def _deviation(row: dict[str, str], hand: int) -> str:
    if row["error"]:
        return "fails"
    macs = int(row["macs"])
    percent = 100 * (macs - hand) / hand
    return "exact" if macs == hand else f"{percent:+.1f} %" if abs(percent) >= 0.05 else f"{percent:+.0e} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--counters", nargs="+", choices=COUNTERS, default=[*COUNTERS])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--table", action="store_true", help="count nothing: print the table of docs/how_it_compares.md"
    )
    options = parser.parse_args()
    if options.table:
        with options.out.open(newline="") as file:
            print(table(list(csv.DictReader(file))))
        return
    missing = [c for c in options.counters if c != "flop_counter" and importlib.util.find_spec(c) is None]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
    torch.set_num_threads(1)
    for library in ("torchvision", "timm", *set(options.counters) - {*missing, "flop_counter"}):
        importlib.import_module(library)
    made_by = {"torch": torch.__version__, "commit": commit()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in options.models:
            build, size = MODELS[name]
            model, x = build().eval(), torch.zeros(1, *size)
            hand = in_a_process(model, x, "hand")["macs"]
            for counter in options.counters:
                if counter in missing:
                    continue
                row = {"model": name, "counter": counter, "version": version_of(counter), "hand": hand, **made_by}
                row |= in_a_process(model, x, counter)
                writer.writerow(row)
                file.flush()
                print(row, flush=True)


if __name__ == "__main__":
    main()
