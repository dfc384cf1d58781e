"""How near the operator comes to the memory's limit, beside its compositions. One command:

    python benchmarks/dynopool2d.py [--device cuda] [--quick] [--repeats 50]

Results are verified in float64 first; while they disagree no speed is printed. Then each row is one way to resize one
map: 20th, 50th and 80th percentile of its time, the fraction of the measured copy bandwidth that it reaches on the
bytes that no implementation can avoid (``floor_bytes``), and its peak memory on a GPU. Rows are appended to
benchmarks/results/dynopool2d.csv with machine, versions and commit; dynopool2d-DEVICE.png shows them as a roofline.
On a CPU the same rows are run on smaller maps, without torch.compile unless ``--compile`` asks for it.
"""

from __future__ import annotations

import argparse
import csv
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.compositions import COMPOSITIONS
from dynpool.kernels import reference
from dynpool.sizes import output_size

RESULTS = Path(__file__).parent / "results"
MAPS = ((224, 16), (112, 64), (56, 64), (56, 256), (28, 512), (14, 1024), (7, 1024))  # pixels, channels
ALPHAS = (2.0, 1.7, 1.19, 1.0, 0.8)
DTYPES = (torch.bfloat16, torch.float32)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
OURS, COPY = "dynopool2d", "copy of as many bytes"
COMPILED = ("interpolate + max_pool2d", "grid_sample + max_pool2d")
TARGETS = {  # of what the others take, or of the copy's bandwidth, for forward + backward on maps beyond the cache
    COPY: 0.8,
    "interpolate + max_pool2d": 4.0,
    "interpolate + max_pool2d, compiled": 1.5,
    "grid_sample + max_pool2d": 10.0,
    "max_pool2d": 1.0,
}


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

    @property
    def size(self) -> tuple[int, int]:
        out = output_size(self.pixels, self.alpha)
        return out, out

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
        x = torch.randn(shape, generator=generator, device=device).to(self.dtype).contiguous(memory_format=self.layout)
        dy = torch.randn(*shape[:2], *self.size, generator=generator, device=device).to(self.dtype)
        alpha = torch.full((2,), self.alpha, device=device)
        needs = self.backward
        return x.requires_grad_(needs), alpha.requires_grad_(needs), dy.contiguous(memory_format=self.layout)


@dataclass(frozen=True)
class Row:
    """What is written for one way to resize one map. Times in microseconds, memory in bytes beyond the inputs."""

    what: str
    n: int
    channels: int
    height: int
    out_height: int
    alpha: float
    dtype: str
    layout: str
    passes: str
    p20: float
    p50: float
    p80: float
    floor_bytes: int
    fraction_of_copy: float
    peak_memory: int | None


# ------------------------------------------------------------------------------------------------------ verification


def verify(case: Case, device: str) -> None:
    """Compare y and both gradients with the float64 reference.

    Raises:
        SystemExit: if they are further from it than rounding explains.
    """
    small = Case(min(case.n, 2), case.channels, case.pixels, case.alpha, case.dtype, case.layout, True)
    x, alpha, dy = small.tensors(device)
    y = dynpool.dynopool2d(x, alpha, size=small.size)
    dx, dalpha = torch.autograd.grad(y, (x, alpha), dy)
    with torch.no_grad():
        _, winner = torch.ops.dynpool.dynopool2d(x, alpha, *small.size, "max", True)
        exact, _ = reference.forward(x.double(), small.size, "max")
        # at our winners: where queries are equal to rounding, another one would be as right
        slope_x, spread = reference.backward(dy.double(), x.double(), winner, (small.pixels,) * 2, "max", True)
        eager = COMPOSITIONS["interpolate + max_pool2d"](x, alpha, small.size)
        eps = torch.finfo(case.dtype).eps
        allowed = 2 * float((eager.double() - exact).abs().max()) + 4 * torch.finfo(torch.float32).eps
        if slope_x is None or spread is None:
            raise SystemExit("the reference gave no gradients")
        slope_alpha = spread * (small.pixels / small.size[0] / case.alpha) ** 2 / 4
        scale = float(slope_x.abs().max())
        errors = {
            "y": (float((y.double() - exact).abs().max()), allowed),
            "dx": (float((dx.double() - slope_x).abs().max()), 2 * eps * scale),
            "dalpha": (float((dalpha.double() - slope_alpha).abs().max()), 1e-5 * math.sqrt(y.numel())),
        }
    wrong = [
        f"{name} is off by {error:.3g} (allowed {limit:.3g})"
        for name, (error, limit) in errors.items()
        if not error <= limit
    ]
    if wrong:
        raise SystemExit(f"{case}: {'; '.join(wrong)}. No speed is printed while results disagree.")


# ------------------------------------------------------------------------------------------------------------ timing


def percentiles(call: Callable[[], object], device: str, repeats: int) -> tuple[float, float, float]:
    """20th, 50th and 80th percentile of a call's time in microseconds; on a GPU with a cold L2 cache, by events."""
    if device == "cuda":
        from triton.testing import do_bench

        p20, p50, p80 = do_bench(call, warmup=25, rep=2 * repeats, quantiles=[0.2, 0.5, 0.8])
        return 1e3 * p20, 1e3 * p50, 1e3 * p80
    call()
    times = []
    for _ in range(max(repeats, 2)):
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    cuts = statistics.quantiles(times, n=10, method="inclusive")
    return cuts[1], cuts[4], cuts[7]


def peak_memory(call: Callable[[], object], device: str) -> int | None:
    """Bytes allocated at the same time beyond what was there before; None where PyTorch does not count."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def contenders(case: Case, compiled: bool) -> Iterator[tuple[str, Callable[[Tensor, Tensor, tuple[int, int]], Tensor]]]:
    """The ways to resize this map."""
    for name, call in COMPOSITIONS.items():
        if name != "max_pool2d" or (case.alpha == 2.0 and case.pixels % 2 == 0):
            yield name, call
        if compiled and name in COMPILED:
            torch._dynamo.reset()
            yield f"{name}, compiled", torch.compile(call, dynamic=False)


def measure(case: Case, device: str, repeats: int, compiled: bool) -> list[Row]:
    """One row for the copy of as many bytes and one for each way to resize the map."""
    half = torch.empty(case.floor_bytes() // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(half)
    calls: list[tuple[str, Callable[[], object]]] = [(COPY, lambda: target.copy_(half))]
    x, alpha, dy = case.tensors(device)
    for name, resize in contenders(case, compiled):

        def call(name: str = name, resize: Callable[..., Tensor] = resize) -> object:
            if not case.backward:
                return resize(x, alpha, case.size)
            wanted = (x, alpha) if name == OURS or name.startswith("grid_sample") else (x,)
            return torch.autograd.grad(resize(x, alpha, case.size), wanted, dy)

        calls.append((name, call))
    rows = []
    copy = math.nan
    for name, run in calls:
        with torch.set_grad_enabled(case.backward):
            times = percentiles(run, device, repeats)
            memory = peak_memory(run, device)
        copy = times[1] if name == COPY else copy
        passes = "forward + backward" if case.backward else "forward"
        about = (case.n, case.channels, case.pixels, case.size[0], case.alpha)
        kind = (str(case.dtype).removeprefix("torch."), str(case.layout).removeprefix("torch."), passes)
        rows.append(Row(name, *about, *kind, *times, case.floor_bytes(), copy / times[1], memory))
    return rows


# ---------------------------------------------------------------------------------------------------- a training step


def training_step(model: nn.Module, x: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x).float(), labels).backward()
        optimizer.step()
        if any(isinstance(module, dynpool.DynOPool2d) for module in model.modules()):
            dynpool.constrain(model)

    return step


def vgg_rows(device: str, repeats: int) -> list[Row]:
    """A training step of VGG-16 with nn.MaxPool2d(2) and with DynOPool at alpha = 2."""
    rows = []
    dtype, batch = (torch.bfloat16, 256) if device == "cuda" else (torch.float32, 2)
    for pixels in (32, 224) if device == "cuda" else (32,):
        x = torch.randn(batch, 3, pixels, pixels, device=device, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        for name in ("max_pool2d", OURS):
            torch.manual_seed(0)
            model = torchvision.models.vgg16(num_classes=10)
            for index, module in enumerate(model.features):
                if name == OURS and isinstance(module, nn.MaxPool2d):
                    model.features[index] = dynpool.DynOPool2d(2.0)
            model = model.to(device=device, dtype=dtype, memory_format=torch.channels_last)
            step = training_step(model, x)
            times = percentiles(step, device, repeats)
            kind = (str(dtype).removeprefix("torch."), "channels_last", "training step")
            memory = peak_memory(step, device)
            rows.append(Row(f"VGG-16 with {name}", batch, 3, pixels, 0, 2.0, *kind, *times, 0, math.nan, memory))
            print_row(rows[-1])
    return rows


# ----------------------------------------------------------------------------------------------------------- results


def print_row(row: Row) -> None:
    size = f"{row.n}x{row.channels}x{row.height}->{row.out_height} {row.dtype} {row.layout} {row.passes}"
    memory = "" if row.peak_memory is None else f" {row.peak_memory / 2**20:9.1f} MiB"
    print(f"{row.p50:11.1f} us {row.fraction_of_copy:6.1%}{memory}  {row.what}: {size}", flush=True)


def write(rows: list[Row], device: str) -> None:
    """Append the rows, with where they come from, to the results."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    where: dict[str, Any] = {
        "device": torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.processor() or platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device == "cuda" else "",
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "dynopool2d.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)] + list(where))
        if new:
            writer.writeheader()
        writer.writerows({**asdict(row), **where} for row in rows)


def draw(rows: list[Row], device: str) -> None:
    """Achieved bandwidth on the floor's bytes against those bytes, for each way; the copy is the roof."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    kinds = sorted({row.passes for row in rows})
    figure, axes = plt.subplots(1, len(kinds), figsize=(6.4 * len(kinds), 4.8), sharey=True, squeeze=False)
    for axis, passes in zip(axes[0], kinds, strict=True):
        for name in dict.fromkeys(row.what for row in rows if row.passes == passes):
            points = sorted((row.floor_bytes, row.p50) for row in rows if (row.what, row.passes) == (name, passes))
            style = {COPY: {"color": "black", "marker": "_", "s": 60}, OURS: {"color": "tab:red", "zorder": 3}}
            heights = [size / us / 1e3 for size, us in points]
            axis.scatter([size for size, _ in points], heights, label=name, **{"s": 14, **style.get(name, {})})
        axis.set(xscale="log", yscale="log", title=passes, xlabel="bytes that must move")
        axis.grid(True, which="major", alpha=0.3)
    axes[0][0].set_ylabel("those bytes per time (GB/s)")
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title=f"roof: {COPY}")
    figure.savefig(RESULTS / f"dynopool2d-{device}.png", dpi=120, bbox_inches="tight")
    plt.close(figure)


def summarise(rows: list[Row], device: str) -> None:
    """Geometric means over the maps well beyond the cache, beside the targets set for a GPU."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size if device == "cuda" else 0
    big = [row for row in rows if row.passes == "forward + backward" and row.floor_bytes > 4 * cache]
    times = {(row.what, *_map_of(row)): row.p50 for row in big}
    print(f"\nforward + backward of {OURS}, geometric mean over maps of more than {4 * cache} bytes:")
    for name in dict.fromkeys(row.what for row in big if row.what != OURS):
        ratios = [us / times[OURS, *key[1:]] for key, us in times.items() if key[0] == name]
        target = f"  (target on an H200: {TARGETS[name]})" if name in TARGETS else ""
        print(f"  {statistics.geometric_mean(ratios):6.2f} x the speed of {name}{target}")


def _map_of(row: Row) -> tuple[Any, ...]:
    return row.n, row.channels, row.height, row.out_height, row.dtype, row.layout


def cases(device: str, quick: bool) -> Iterator[Case]:
    """The maps: filled up to a number of elements by the batch, and once as a small batch."""
    elements = 2**26 if device == "cuda" else 2**20
    for pixels, channels in MAPS[3:4] if quick else MAPS:
        full = max(1, elements // (channels * pixels**2))
        for n in dict.fromkeys((full, 8) if device == "cuda" else (full,)):
            for alpha in ALPHAS[:2] if quick else ALPHAS:
                for dtype in DTYPES:
                    for layout in LAYOUTS:
                        for backward in (False, True):
                            yield Case(n, channels, pixels, alpha, dtype, layout, backward)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="one map and two alphas only")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--threads", type=int, help="on a CPU")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="measure torch.compile (default: on a GPU)"
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    compiled = options.device == "cuda" if options.compile is None else options.compile
    todo = list(cases(options.device, options.quick))
    for case in todo:
        if case.backward:
            verify(case, options.device)
    print(f"results agree with the float64 reference on {len(todo)} maps\n")
    rows = []
    for case in todo:
        for row in measure(case, options.device, options.repeats, compiled):
            print_row(row)
            rows.append(row)
    summarise(rows, options.device)
    draw(rows, options.device)
    write(rows + vgg_rows(options.device, options.repeats), options.device)


if __name__ == "__main__":
    main()
