"""Checks that `convert(..., preserve=True)` keeps the function of every timm model; one CSV row per model and order.

    python benchmarks/preserve.py [--models 'resnet*'] [--stride 1] [--out benchmarks/results/preserve.csv]

Rows are written as they finish, and models that already have a row are skipped, so the sweep can be interrupted. Random
networks of many layers can be so ill-conditioned that their float32 outputs are far from their float64 outputs. If the
change in float32 exceeds the limit, it is measured again in float64 (`error64`), with the rounding error of the
original model for comparison (`own`): a row is "changed" only if it also changes in float64, otherwise "rounded".

Each model runs at the smallest of a few sizes at which every stride divides its map evenly, learned maps start at the
original sizes and none is a single pixel, otherwise at the smallest at which it runs (column `even`). Weights are
random; gains and biases that start at one, zero or 1e-6 are perturbed, because a block with a gain of zero would hide
any difference.
"""

from __future__ import annotations

import argparse
import csv
import gc
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.appending import append, check_columns

RESULTS = Path(__file__).parent / "results" / "preserve.csv"
COLUMNS = ["model", "order", "status", "size", "even", "converted", "tied", "follows", "pinned", "left", "error"]
COLUMNS += ["error64", "own", "why"]
SIZES = (64, 128, 192, 224, 256)
LIMIT64 = 1e-8
LIMIT = 1e-4  # largest difference of the logits, relative to the largest logit


def candidate_sizes(name: str) -> Iterator[tuple[int, int, int]]:
    channels, height, width = timm.models.get_pretrained_cfg_value(name, "input_size")
    for n in sorted({*SIZES, height}):
        yield (channels, n, n if height == width else width * n // height)


def choose_size(name: str) -> tuple[tuple[int, int, int], bool]:
    """(size at which a model is measured, whether every stride divides evenly at it)."""
    with torch.device("meta"):
        model = timm.create_model(name).eval()
    runs: list[tuple[int, int, int]] = []
    why = ""
    for size in candidate_sizes(name):
        try:
            graph = dynpool.trace(model, size)
        except ValueError as error:
            why = str(error)
            continue
        if any(n == 1 < m for r in graph.resizes if not r.fixed for m, n in zip(r.in_size, r.out_size, strict=True)):
            continue
        runs.append(size)
        at = dynpool.sizes(model, size)
        levels = sorted({n for pair in at.values() for n in pair}, reverse=True)
        if all(size[1] % n == 0 or size[2] % n == 0 for n in levels) and starts_at(model, size, at):
            return size, True
    if not runs:
        raise ValueError(why or "a map is a single pixel at every size tried")
    return runs[0], False


def starts_at(model: nn.Module, size: tuple[int, int, int], sizes: dict[str, tuple[int, ...]]) -> bool:
    """Whether the converted model starts at these sizes, which multiples of a window can prevent."""
    try:
        learned = dynpool.sizes(dynpool.convert(model, size, preserve=True), size)
    except ValueError:  # nothing to learn at this size
        return False
    return all(sizes.get(name, pixels) == pixels for name, pixels in learned.items())


@torch.no_grad()
def disturb(model: nn.Module) -> None:
    for p in model.parameters():
        if p.dim() <= 1 or p.numel() == max(p.shape):
            p.add_(torch.randn_like(p), alpha=0.1)
        elif not p.any():
            p.normal_(std=0.02)


def first_tensor(out: Any) -> torch.Tensor:
    return out if isinstance(out, torch.Tensor) else first_tensor(next(iter(out)))


def relative_error(out: torch.Tensor, expected: torch.Tensor) -> float:
    return float((out.double() - expected.double()).abs().max() / expected.double().abs().max())


@torch.inference_mode()
def compare(model: nn.Module, learned: nn.Module, size: tuple[int, int, int]) -> dict[str, str]:
    """The status and the errors. Both models are in float32; `model` is so again afterwards."""
    x = torch.randn(1, *size)
    single, kept = first_tensor(model(x)), first_tensor(learned(x))
    error = relative_error(kept, single)
    if error < LIMIT:
        return {"status": "kept", "error": f"{error:.2e}"}
    x = x.double()
    double, kept64 = first_tensor(model.double()(x)), first_tensor(learned.double()(x))
    error64, own = relative_error(kept64, double), relative_error(single, double)
    model.float()  # exactly what it was
    status = "rounded" if error64 < LIMIT64 else "changed" if error64 >= LIMIT64 else "not finite"
    return {"status": status, "error": f"{error:.2e}", "error64": f"{error64:.2e}", "own": f"{own:.2e}"}


def measure(name: str, orders: list[str]) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {"model": name}
    try:
        size, even = choose_size(name)
    except (ValueError, RuntimeError, TypeError) as error:
        yield from ({**row, "order": order, "status": "cannot be traced", "why": str(error)[:200]} for order in orders)
        return
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    disturb(model)
    for order in orders:
        here = {**row, "order": order, "size": "x".join(map(str, size[1:])), "even": even}
        try:
            learned = dynpool.convert(model, size, preserve=True, order=order)  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            yield {**here, "status": "cannot be converted", "why": str(error).splitlines()[0][:200]}
            continue
        report = dynpool.conversion_report(learned)
        counts = {s: len(report.of(s)) for s in ("converted", "tied", "follows", "pinned")}  # type: ignore[arg-type]
        here.update(counts, left=len([r for r in report.of("left alone") if "is fixed" not in r.why]))
        try:
            yield {**here, **compare(model, learned, size)}
        except (ValueError, RuntimeError, TypeError) as failure:
            yield {**here, "status": "cannot run", "why": f"{type(failure).__name__}: {failure}".splitlines()[0][:200]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["*"], help="patterns of names")
    parser.add_argument("--stride", type=int, default=1, help="only every n-th model of the list")
    parser.add_argument("--orders", nargs="+", default=["after", "before"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    names = list(dict.fromkeys(n for pattern in args.models for n in timm.list_models(pattern)))[:: args.stride]
    check_columns(args.out, COLUMNS)
    seen = set()
    if args.out.exists():
        with args.out.open() as file:
            seen = {row["model"] for row in csv.DictReader(file)}
    for name in names:
        if name in seen:
            continue
        start = time.perf_counter()
        rows = list(measure(name, args.orders))
        append(args.out, COLUMNS, rows)
        results = ", ".join(f"{r['order']}: {r['status']} {r.get('error', '')}" for r in rows)
        print(f"{name}: {results} ({time.perf_counter() - start:.1f} s) {rows[0].get('why', '')}", flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
