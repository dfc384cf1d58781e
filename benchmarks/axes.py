"""The operator on sequences and volumes on a CPU, as ratios to interpolation and max pooling in the same round.

    python benchmarks/axes.py [--threads 1] [--rounds 15]

The composition has no gradient to alpha, ours has. Nothing is printed unless values agree. Rows are appended to
benchmarks/results/axes.csv.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.appending import append, check_columns
from benchmarks.checkout import commit
from benchmarks.timing import in_turns

RESULTS = Path(__file__).parent / "results" / "axes.csv"
FIELDS = ["shape", "size", "layout", "passes", "of_composition", "threads", "torch", "system", "commit", "date"]
CASES = [
    ((8, 64, 1024), (512,)),
    ((8, 64, 1024), (430,)),
    ((2, 16, 32, 32, 32), (16, 16, 16)),
    ((2, 16, 32, 32, 32), (19, 19, 19)),
    ((2, 64, 16, 16, 16), (9, 9, 9)),
    ((1, 8, 64, 64, 64), (38, 38, 38)),
]


def ours(x: Tensor, alpha: Tensor, size: tuple[int, ...]) -> Tensor:
    return (dynpool.dynopool1d if len(size) == 1 else dynpool.dynopool3d)(x, alpha, size=size)


def composed(x: Tensor, alpha: Tensor, size: tuple[int, ...]) -> Tensor:
    mode, pool = ("linear", F.max_pool1d) if len(size) == 1 else ("trilinear", F.max_pool3d)
    return pool(F.interpolate(x, [2 * n for n in size], mode=mode, align_corners=False), 2)


def passes(function: Callable[..., Tensor], x: Tensor, size: tuple[int, ...], backward: bool) -> Callable[[], object]:
    x = x.detach().requires_grad_(backward)
    alpha = torch.full((len(size),), 2.0, requires_grad=backward and function is ours)
    leaves = [leaf for leaf in (x, alpha) if leaf.requires_grad]
    dy = torch.ones_like(function(x, alpha, size))
    if not backward:
        return lambda: function(x, alpha, size)
    return lambda: torch.autograd.grad(function(x, alpha, size), leaves, dy)


def ratio(x: Tensor, size: tuple[int, ...], backward: bool, rounds: int) -> float:
    """The median over the rounds of our time divided by that of the composition."""
    times = in_turns([passes(function, x, size, backward) for function in (ours, composed)], "cpu", rounds)
    return statistics.median(mine / theirs for mine, theirs in zip(*times, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    check_columns(RESULTS, FIELDS)
    about = [arguments.threads, torch.__version__, platform.platform(), commit(), date.today().isoformat()]
    for shape, size in CASES:
        for layout in ("contiguous", "channels_last") if len(size) == 3 else ("contiguous",):
            last = torch.channels_last_3d if layout == "channels_last" else torch.contiguous_format
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=last)
            exact = composed(x.double(), torch.ones(()), size)  # in float32, PyTorch rounds the positions
            torch.testing.assert_close(ours(x, torch.ones(len(size)), size).double(), exact, rtol=0, atol=1e-5)
            for name, backward in (("forward", False), ("forward + backward", True)):
                found = f"{ratio(x, size, backward, arguments.rounds):.2f}"
                sizes = ["x".join(map(str, numbers)) for numbers in (shape, size)]
                print(*sizes, layout, name, found)
                figures = [*sizes, layout, name, found, *about]
                append(RESULTS, FIELDS, [dict(zip(FIELDS, figures, strict=True))])


if __name__ == "__main__":
    main()
