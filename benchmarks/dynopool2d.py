"""How near the operator comes to the memory's limit, beside its compositions. One command:

    python benchmarks/dynopool2d.py [--device cuda] [--quick] [--minutes 9] [--compile some] [--out FOLDER]

Results are verified against the float64 reference first; while they disagree no speed is printed. Then each row is one
way to resize one map: 20th, 50th and 80th percentile of its time, the fraction of the measured copy bandwidth that it
reaches on the bytes that no implementation can avoid (``floor_bytes``), the median over all rounds of its time over
that of the contiguous ``interpolate + max_pool2d`` in the same round, the host's share, and its peak memory on a GPU.
Rows are added, as they are found, to benchmarks/results/dynopool2d.csv (dynopool2d_cpu.csv on a CPU) with machine,
versions and commit, or to the same files in another folder; a picture beside them shows the rows as a roofline. Last
come the targets, and what was reached.

The batch fills a map up to a number of elements; on a GPU, a small batch follows. On a CPU (``--threads``) maps are
smaller, in float32, and only what the operator replaces is measured beside it.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.compositions import COMPOSITIONS, Composition
from benchmarks.dynopool2d_results import BOTH, COPY, EAGER, GRID, OURS, PEER, POOL, Results, Row, draw, summarise
from benchmarks.timing import host_time, in_turns, peak_memory
from dynpool.kernels import reference
from dynpool.sizes import output_size

MAPS = ((224, 16), (112, 64), (56, 64), (56, 256), (28, 512), (14, 1024), (7, 1024))  # pixels, channels
ALPHAS = (2.0, 1.7, 1.19, 1.0, 0.8)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
FULL = {"cuda": 2**26, "cpu": 2**20}  # elements of a map; in bfloat16 more than twice the L2 cache of an H200
SMALL = 8  # samples
NETWORKS = {"cuda": (32, 224), "cpu": (32,)}  # pixels of the images
RESULTS = Path(__file__).parent / "results"
COMPILED = (EAGER, GRID)


@dataclass(frozen=True)
class Case:
    """One map and one size."""

    n: int
    channels: int
    pixels: int
    alpha: float
    dtype: torch.dtype
    layout: torch.memory_format
    backward: bool
    small: bool = False

    @property
    def size(self) -> tuple[int, int]:
        out = output_size(self.pixels, self.alpha)
        return out, out

    @property
    def halves(self) -> bool:
        return self.pixels == 2 * self.size[0]

    def floor_bytes(self) -> int:
        """Bytes that must move: x, y and one byte of argmax; backward also their gradients and x for alpha's."""
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


def cases(device: str, quick: bool) -> Iterator[Case]:
    """The maps, filled up by the batch; then, on a GPU, as small batches."""
    maps = MAPS[3:4] if quick else MAPS
    dtypes = (torch.bfloat16, torch.float32) if device == "cuda" else (torch.float32,)
    for small in (False, True) if device == "cuda" else (False,):
        for pixels, channels in maps:
            n = SMALL if small else max(1, FULL[device] // (channels * pixels**2))
            for alpha in ALPHAS[:2] if quick else ALPHAS:
                for dtype in dtypes[:1] if small else dtypes:
                    for layout in LAYOUTS:
                        for backward in (True,) if small or device == "cpu" else (True, False):
                            yield Case(n, channels, pixels, alpha, dtype, layout, backward, small)


# ------------------------------------------------------------------------------------------------------ verification


def verify(case: Case, device: str) -> None:
    """Compare y and both gradients with the float64 reference.

    Raises:
        SystemExit: if they are further from it than rounding explains.
    """
    x, alpha, dy = (tensor.detach() for tensor in case.tensors(device))
    leaf, stride = x.clone().requires_grad_(), alpha.clone().requires_grad_()
    y = dynpool.dynopool2d(leaf, stride, size=case.size)
    dx, dalpha = torch.autograd.grad(y, (leaf, stride), dy)
    with torch.no_grad():
        # at our winners: where queries are equal to rounding, another one would be as right
        _, winner = torch.ops.dynpool.dynopool2d(x, alpha, *case.size, "max", True)
        exact, _ = reference.forward(x.double(), case.size, "max")
        exact_dx, spread = reference.backward(dy.double(), x.double(), winner, (case.pixels,) * 2, "max", True)
        if exact_dx is None or spread is None:
            raise SystemExit("the reference gave no gradients")
        exact_alpha = spread * (case.pixels / case.size[0] / case.alpha) ** 2 / 4
        rounding = torch.finfo(case.dtype).eps / 2 + 16 * torch.finfo(torch.float32).eps  # once, and that of sums
        errors = {
            "y": _beyond(y, exact, rounding),
            "dx": _beyond(dx, exact_dx, rounding),
            "dalpha": float((dalpha.double() - exact_alpha).abs().max()) - 1e-5 * math.sqrt(y.numel()),
        }
    wrong = [f"{name} is off by {error:.3g} more than rounding" for name, error in errors.items() if not error <= 0]
    if wrong:
        raise SystemExit(f"{case}: {'; '.join(wrong)}. No speed is printed while results disagree.")


def _beyond(found: Tensor, exact: Tensor, rounding: float) -> float:
    """By how much the largest error is above that of rounding the largest value."""
    return float((found.double() - exact).abs().max()) - rounding * float(exact.abs().max())


# ------------------------------------------------------------------------------------------------------- measurement


def contenders(case: Case, device: str, compiled: str) -> Iterator[tuple[str, Composition, torch.memory_format]]:
    """The ways to resize this map, and the layout they are given it in."""
    yield PEER, COMPOSITIONS[EAGER], torch.contiguous_format
    for name, resize in COMPOSITIONS.items():
        if (name == POOL and not case.halves) or (device == "cpu" and name not in (OURS, EAGER, POOL)):
            continue
        if name != EAGER or case.layout != torch.contiguous_format:
            yield name, resize, case.layout
        some = not case.small and case.backward and case.alpha in (2.0, 1.19) and case.channels in (64, 256)
        if name in COMPILED and (compiled == "all" or (compiled == "some" and some)):
            torch._dynamo.reset()
            yield f"{name}, compiled", torch.compile(resize, dynamic=False), case.layout


def measure(case: Case, device: str, rounds: int, compiled: str) -> list[Row]:
    """One row for the copy of as many bytes and one for each way to resize the map."""
    x, alpha, dy = case.tensors(device)
    half = torch.empty(case.floor_bytes() // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(half)
    calls: dict[str, Callable[[], object]] = {COPY: lambda: target.copy_(half)}
    for name, resize, layout in contenders(case, device, compiled):
        needs_alpha = case.backward and (name == OURS or name.startswith(GRID))
        calls[name] = _call(resize, case, x, alpha.detach().requires_grad_(needs_alpha), dy, layout)
    peer = PEER
    if case.layout == torch.contiguous_format:
        peer = EAGER
        calls[EAGER] = calls.pop(PEER)
    with torch.set_grad_enabled(case.backward):
        for name in list(calls):
            if name != OURS and (why := _failure(calls[name])):
                print(f"{name} is left out: {why}", flush=True)
                del calls[name]
        times = dict(zip(calls, in_turns(list(calls.values()), device, rounds), strict=True))
        extra = {name: (host_time(call, device), peak_memory(call, device)) for name, call in calls.items()}
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
    """Why a call cannot be measured here, as without a compiler; None if it can."""
    try:
        call()
    except RuntimeError as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _name(of: torch.dtype | torch.memory_format) -> str:
    return str(of).removeprefix("torch.")


def measure_vgg(pixels: int, device: str, rounds: int) -> list[Row]:
    """A training step of VGG-16 with nn.MaxPool2d(2) and with DynOPool at alpha = 2, in turns."""
    dtype, batch = (torch.bfloat16, 256) if device == "cuda" else (torch.float32, 2)
    x = torch.randn(batch, 3, pixels, pixels, device=device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    steps = {name: _training_step(name, x) for name in (POOL, OURS)}
    times = dict(zip(steps, in_turns(list(steps.values()), device, rounds), strict=True))
    rows = []
    for name, found in times.items():
        cuts = statistics.quantiles(found, n=10, method="inclusive")
        ratio = statistics.median(a / b for a, b in zip(found, times[POOL], strict=True))
        kind = (_name(dtype), "channels_last", "training step")
        extra = (host_time(steps[name], device, 3), peak_memory(steps[name], device))
        shape = (batch, 3, pixels, 0, 2.0)
        rows.append(Row(f"VGG-16 with {name}", *shape, *kind, cuts[1], cuts[4], cuts[7], 0, math.nan, ratio, *extra))
    return rows


def _training_step(pool: str, x: Tensor) -> Callable[[], None]:
    torch.manual_seed(0)
    model = torchvision.models.vgg16(num_classes=10)
    for index, module in enumerate(model.features):
        if pool == OURS and isinstance(module, nn.MaxPool2d):
            model.features[index] = dynpool.DynOPool2d(2.0)
    model = model.to(device=x.device, dtype=x.dtype, memory_format=torch.channels_last)
    # the gradient to alpha is computed, and alpha stays: the sizes are those of the network it is compared with
    groups = dynpool.parameter_groups(model, lr=1e-4, alpha_lr=0.0, weight_decay=0.0)
    parameters = groups if pool == OURS else model.parameters()
    optimizer = torch.optim.SGD(parameters, lr=1e-4)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x).float(), labels).backward()
        optimizer.step()
        if pool == OURS:
            dynpool.constrain(model)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="one map and two alphas only")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="on a CPU: each number of them in turn")
    parser.add_argument("--minutes", type=float, default=8.5, help="no map is started, and no network, after so long")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the rows and the picture")
    parser.add_argument("--compile", choices=("all", "some", "none"), help="default: some maps on a GPU, else none")
    options = parser.parse_args()
    device = options.device
    compiled = options.compile or ("some" if device == "cuda" else "none")
    todo = list(cases(device, options.quick))
    for case in todo:
        if case.backward:
            verify(case, device)
    print(f"results agree with the float64 reference on {len(todo)} maps\n", flush=True)
    random.Random(0).shuffle(todo)  # should time run out, maps of all sizes have been measured
    networks = [partial(measure_vgg, pixels, device, options.rounds) for pixels in NETWORKS[device]]
    maps = [partial(measure, case, device, options.rounds, compiled) for case in todo]
    results, left, until = Results(device, options.out), 0, time.monotonic() + 60 * options.minutes
    for threads in options.threads if device == "cpu" else [torch.get_num_threads()]:
        torch.set_num_threads(threads)
        first = len(results.rows)
        for find in maps if options.quick else [*networks, *maps]:
            if time.monotonic() > until:
                left += 1
                continue
            for row in find():
                results.add(row)
        print(f"\n{threads} threads:" if device == "cpu" else "")
        summarise(results.rows[first:], device)
    draw([row for row in results.rows if row.floor_bytes], results.path.with_suffix(".png"))
    if left:
        print(f"{left} maps and networks were left out after {options.minutes} minutes")


if __name__ == "__main__":
    main()
