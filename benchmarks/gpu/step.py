"""Part "step": training steps of VGG-16 and ResNet-50, like for like, in turns.

The network as it was designed; with learned sizes, convolved first as in the paper ("after") or resized first
("before"), all at the sizes of the design; and each of these frozen, which computes the same by PyTorch's own
operations, without gradients to alphas. The learned network's time is compared with the frozen one's, and that with the
design's.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map
from benchmarks.gpu.networks import placed, pooled_maps
from benchmarks.gpu.rows import FAILED, MEASURED, MISSED, PASSED, SKIPPED, Rows, path_of
from benchmarks.timing import host_time, in_turns, peak_memory

__all__ = ["main", "maps"]

Order = Literal["after", "before"]

TARGET = 1.03  # of the time of the frozen network
COLUMNS = (
    "network", "way", "batch", "pixels", "dtype", "layout",
    "p20", "p50", "p80", "peer", "of_peer", "host", "peak_memory",
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network of torchvision, what it is given, and how it is converted."""

    name: str
    orders: tuple[Order, ...]
    pixels: int
    batch: int
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.name} at {self.pixels} pixels, batch {self.batch}"

    def design(self) -> nn.Module:
        """The network as it was designed, always with the same weights."""
        import torchvision

        torch.manual_seed(0)
        model: nn.Module = torchvision.models.get_model(self.name, num_classes=10)
        return model

    def converted(self, order: Order) -> nn.Module:
        """The same with learned sizes."""
        return dynpool.convert(self.design(), (3, self.pixels, self.pixels), order=order)


def networks(tiny: bool) -> list[Network]:
    """What is measured. Pools alone are the same in both orders, so VGG-16 has one."""
    if tiny:
        return [
            Network("vgg11", ("after",), 32, 2, torch.float32),
            Network("resnet18", ("before",), 32, 2, torch.float32),
        ]
    orders: dict[str, tuple[Order, ...]] = {"vgg16": ("after",), "resnet50": ("after", "before")}
    return [
        Network(name, orders[name], pixels, batch, torch.bfloat16)
        for pixels, batch in ((32, 256), (224, 64))
        for name in orders
    ]


def maps(tiny: bool) -> Iterator[Map]:
    """What they pool; nothing where torchvision is not installed."""
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return
    for network in networks(tiny):
        shape = (network.batch, 3, network.pixels, network.pixels)
        for order in network.orders:
            yield from pooled_maps(network.converted(order), shape, network.dtype)


def main(context: Context) -> None:
    """Measure network by network while there is time."""
    todo = networks(context.tiny)
    with Rows(path_of(context.out, "step"), COLUMNS, context.device) as rows:
        longest = 0.0
        for network in todo:
            if context.left() < longest:
                rows.add(str(network), SKIPPED, note="no time was left for it", network=network)
                continue
            print(f"begin {network}", flush=True)
            begin = time.perf_counter()
            try:
                _measure(network, context, rows)
            except ModuleNotFoundError as error:
                rows.add(str(network), SKIPPED, note=f"{error}: carry its wheel", network=network)
            except RuntimeError as error:  # out of memory, say; the other networks are measured all the same
                rows.add(str(network), FAILED, note=f"{type(error).__name__}: {error}", network=network)
            gc.collect()
            if context.device == "cuda":
                torch.cuda.empty_cache()
            longest = max(longest, time.perf_counter() - begin)


def _measure(network: Network, context: Context, rows: Rows) -> None:
    shape = (network.batch, 3, network.pixels, network.pixels)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(context.device, network.dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    steps = {"design": training_step(network.design(), x)}
    peers = {}
    for order in network.orders:
        model = network.converted(order)
        way = f"learned, {order}"
        peers[way] = f"frozen, {order}"
        steps[peers[way]] = training_step(dynpool.freeze(model), x)
        steps[way] = training_step(model, x)
    times = dict(zip(steps, in_turns(list(steps.values()), context.device, 2 if context.tiny else 20), strict=True))
    for way, found in times.items():
        cuts = statistics.quantiles(found, n=10, method="inclusive")
        peer = peers.get(way, "design" if way != "design" else "")
        of_peer = statistics.median(a / b for a, b in zip(found, times[peer], strict=True)) if peer else None
        judged = way in peers and not context.tiny and of_peer is not None
        reached = TARGET / of_peer if judged and of_peer is not None else None
        state = MEASURED if reached is None else PASSED if reached >= 1 else MISSED
        beside = f", {of_peer:.3f} of {peer}" if of_peer is not None else ""
        rows.add(
            f"{network}, {way}: {cuts[4] / 1e3:.1f} ms{beside}", state, reached,
            network=network, way=way, batch=network.batch, pixels=network.pixels, dtype=network.dtype,
            layout="channels_last", p20=cuts[1], p50=cuts[4], p80=cuts[7], peer=peer, of_peer=of_peer,
            host=host_time(steps[way], context.device, 3), peak_memory=peak_memory(steps[way], context.device),
        )  # fmt: skip


def training_step(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """A step on these images. Gradients to alphas are computed, and alphas stay: sizes are those of the design."""
    learned = any(isinstance(module, dynpool.LearnedResizer2d) for module in model.modules())
    model = placed(model, x.device.type, x.dtype).train()
    groups = dynpool.parameter_groups(model, lr=1e-4, alpha_lr=0.0, weight_decay=0.0) if learned else model.parameters()
    optimizer = torch.optim.SGD(groups, lr=1e-4)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x).float(), labels).backward()
        optimizer.step()
        if learned:
            dynpool.constrain(model)

    return step
