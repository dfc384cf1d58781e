"""Speed of the operator on a CPU against compositions of PyTorch's operators and against memory bandwidth. One command:

    python benchmarks/dynopool2d.py [--quick] [--minutes 9] [--threads 1 2] [--layouts channels_last] [--out FOLDER]

Results are first verified against the float64 reference; if they disagree no speed is printed. Then each row is one
implementation on one map: 20th, 50th and 80th percentile of its time, the fraction of the measured copy bandwidth that
it reaches on the bytes that every implementation must move (``floor_bytes``), and the median over all rounds of its
time divided by that of the contiguous ``interpolate + max_pool2d`` in the same round. Rows are appended at once to
benchmarks/results/dynopool2d_cpu.csv, or to the same file in another folder, with machine, versions and commit; a plot
beside it shows them as a roofline. A summary is printed at the end.

The batch size is chosen so that all maps have about the same number of elements, in float32. On a GPU, run
``python -m benchmarks.gpu``.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.compositions import COMPOSITIONS, Composition
from benchmarks.dynopool2d_results import BOTH, COPY, EAGER, GRID, OURS, PEER, POOL, Results, Row, draw, summarise
from benchmarks.timing import host_time, in_turns, peak_memory
from dynpool.resizers.kernels import reference
from dynpool.size_math import output_size

MAPS = ((224, 16), (112, 64), (56, 64), (56, 256), (28, 512), (14, 1024), (7, 1024))  # pixels, channels
ALPHAS = (2.0, 1.7, 1.19, 1.0, 0.8)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
FULL = 2**20  # elements of a map
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    """One input map and one output size."""

    n: int
    channels: int
    pixels: int
    alpha: float
    dtype: torch.dtype
    layout: torch.memory_format
    backward: bool

    @property
    def size(self) -> tuple[int, int]:
        out = output_size(self.pixels, self.alpha)
        return out, out

    @property
    def halves(self) -> bool:
        return self.pixels == 2 * self.size[0]

    def floor_bytes(self) -> int:
        """Bytes that must be moved: x, y and one byte of argmax; backward also their gradients, and x for alpha's."""
        x = self.n * self.channels * self.pixels**2
        y = self.n * self.channels * self.size[0] ** 2
        forward = self.dtype.itemsize * (x + y)
        return forward + y + (self.dtype.itemsize * (y + 2 * x) + y) if self.backward else forward

    def tensors(self, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """x, alpha and the gradient to y."""
        generator = torch.Generator(device).manual_seed(0)
        shape = (self.n, self.channels, self.pixels, self.pixels)
        x = torch.randn(shape, generator=generator, device=device, dtype=self.dtype)
        dy = torch.randn((*shape[:2], *self.size), generator=generator, device=device, dtype=self.dtype)
        x, dy = (tensor.contiguous(memory_format=self.layout) for tensor in (x, dy))
        alpha = torch.full((2,), self.alpha, device=device)
        return x.requires_grad_(self.backward), alpha.requires_grad_(self.backward), dy


def cases(quick: bool) -> Iterator[Case]:
    """All cases, with a batch size that gives about `FULL` elements."""
    for pixels, channels in MAPS[3:4] if quick else MAPS:
        n = max(1, FULL // (channels * pixels**2))
        for alpha in ALPHAS[:2] if quick else ALPHAS:
            for layout in LAYOUTS:
                for backward in (True, False):
                    yield Case(n, channels, pixels, alpha, torch.float32, layout, backward)


# ------------------------------------------------------------------------------------------------------ verification


def verify(case: Case, device: str) -> None:
    """Compare y and both gradients with the float64 reference.

    Raises:
        SystemExit: if an error exceeds rounding.
    """
    x, alpha, dy = (tensor.detach() for tensor in case.tensors(device))
    leaf, stride = x.clone().requires_grad_(), alpha.clone().requires_grad_()
    y = dynpool.dynopool2d(leaf, stride, size=case.size)
    dx, dalpha = torch.autograd.grad(y, (leaf, stride), dy)
    with torch.no_grad():
        # use our argmax: where queries are equal up to rounding, another one would be just as correct
        _, winner = torch.ops.dynpool.dynopool2d(x, alpha, *case.size, "max", True)
        exact, _ = reference.forward(x.double(), case.size, "max")
        exact_dx, spread = reference.backward(dy.double(), x.double(), winner, (case.pixels,) * 2, "max", True)
        if exact_dx is None or spread is None:
            raise SystemExit("the reference gave no gradients")
        exact_alpha = spread * (case.pixels / case.size[0] / case.alpha) ** 2 / 4
        rounding = (
            torch.finfo(case.dtype).eps / 2 + 16 * torch.finfo(torch.float32).eps
        )  # of one operation, and of sums
        errors = {
            "y": _beyond(y, exact, rounding),
            "dx": _beyond(dx, exact_dx, rounding),
            "dalpha": float((dalpha.double() - exact_alpha).abs().max()) - 1e-5 * math.sqrt(y.numel()),
        }
    wrong = [f"{name} is off by {error:.3g} more than rounding" for name, error in errors.items() if not error <= 0]
    if wrong:
        raise SystemExit(f"{case}: {'; '.join(wrong)}. No speed is printed while results disagree.")


def _beyond(found: Tensor, exact: Tensor, rounding: float) -> float:
    """The largest error minus the rounding error of the largest value."""
    return float((found.double() - exact).abs().max()) - rounding * float(exact.abs().max())


# ------------------------------------------------------------------------------------------------------- measurement


def contenders(
    case: Case, ways: Sequence[str], compiled: Sequence[str]
) -> Iterator[tuple[str, Composition, torch.memory_format]]:
    """(name, implementation, memory format of its input) for each way to resize this map."""
    yield PEER, COMPOSITIONS[EAGER], torch.contiguous_format
    for name in ways:
        if (name != POOL or case.halves) and (name != EAGER or case.layout != torch.contiguous_format):
            yield name, COMPOSITIONS[name], case.layout
    for name in compiled:
        torch._dynamo.reset()
        yield f"{name}, compiled", torch.compile(COMPOSITIONS[name], dynamic=False), case.layout


def measure(
    case: Case,
    device: str,
    rounds: int,
    ways: Sequence[str] = (OURS, EAGER, POOL),
    compiled: Sequence[str] = (),
    least: int = 10,
) -> list[Row]:
    """One row for a copy of the same number of bytes, and one for each way to resize the map.

    Args:
        case: the map.
        device: "cuda" or "cpu".
        rounds: rounds, in each of which every way runs once.
        ways: names of compositions.
        compiled: names of compositions that are also compiled by Inductor.
        least: minimum number of rounds on a GPU.
    """
    x, alpha, dy = case.tensors(device)
    half = torch.empty(case.floor_bytes() // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(half)
    calls: dict[str, Callable[[], object]] = {COPY: lambda: target.copy_(half)}
    for name, resize, layout in contenders(case, ways, compiled):
        needs_alpha = case.backward and (name == OURS or name.startswith(GRID))
        calls[name] = _call(resize, case, x, alpha.detach().requires_grad_(needs_alpha), dy, layout)
    peer = PEER
    if case.layout == torch.contiguous_format:
        peer = EAGER
        calls[EAGER] = calls.pop(PEER)
    with torch.set_grad_enabled(case.backward):
        for name in list(calls):
            if name != OURS and (failure := _failure(calls[name])):
                print(f"{name} is skipped: {failure}", flush=True)
                del calls[name]
        times = dict(zip(calls, in_turns(list(calls.values()), device, rounds, least), strict=True))
        extra = {name: (host_time(call, device, 2 * least), peak_memory(call, device)) for name, call in calls.items()}
    about = (case.n, case.channels, case.pixels, case.size[0], case.alpha, _name(case.dtype), _name(case.layout))
    copy, rows = statistics.median(times[COPY]), []
    for name, found in times.items():
        cuts = statistics.quantiles(found, n=10, method="inclusive")
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found, times[peer], strict=True))
        passes = BOTH if case.backward else "forward"
        bounds = (case.floor_bytes(), copy / cuts[4], ratio)
        rows.append(Row(name, *about, passes, cuts[1], cuts[4], cuts[7], *bounds, *extra[name]))
    return rows


def _call(
    resize: Composition, case: Case, x: Tensor, alpha: Tensor, dy: Tensor, layout: torch.memory_format
) -> Callable[[], object]:
    x = x.detach().contiguous(memory_format=layout).requires_grad_(case.backward)
    dy = dy.contiguous(memory_format=layout)
    if not case.backward:
        return lambda: resize(x, alpha, case.size)
    wanted = (x, alpha) if alpha.requires_grad else (x,)
    return lambda: torch.autograd.grad(resize(x, alpha, case.size), wanted, dy)


def _failure(call: Callable[[], object]) -> str | None:
    """The error of a call that does not run here, for instance without a compiler; None if it runs."""
    try:
        call()
    except RuntimeError as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _name(of: torch.dtype | torch.memory_format) -> str:
    return str(of).removeprefix("torch.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one map and two alphas only")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="thread counts to measure, one after the other"
    )
    parser.add_argument("--minutes", type=float, default=8.5, help="start no map after this many minutes")
    names = [_name(layout) for layout in LAYOUTS]
    parser.add_argument("--layouts", nargs="+", choices=names, default=names, help="default: both")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the rows and the plot")
    options = parser.parse_args()
    todo = [case for case in cases(options.quick) if _name(case.layout) in options.layouts]
    verified = [case for case in todo if case.backward]
    for case in verified:
        verify(case, "cpu")
    print(f"results agree with the float64 reference on {len(verified)} maps\n", flush=True)
    random.Random(0).shuffle(todo)  # so that maps of all sizes are measured even if time runs out
    results, left, until = Results(options.out), 0, time.monotonic() + 60 * options.minutes
    for threads in options.threads:
        torch.set_num_threads(threads)
        first = len(results.rows)
        for case in todo:
            if time.monotonic() > until:
                left += 1
                continue
            for row in measure(case, "cpu", options.rounds):
                results.add(row)
        print(f"\n{threads} threads:")
        summarise(results.rows[first:])
    draw(results.rows, results.path.with_suffix(".png"))
    if left:
        print(f"{left} maps were skipped after {options.minutes} minutes")


if __name__ == "__main__":
    main()
