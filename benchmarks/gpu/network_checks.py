"""Checks of a converted network: gradients, layouts, mixed precision, compilation, a captured training step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dynpool
from benchmarks.gpu.checking import NotHere, close, needs_cuda, require
from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map
from benchmarks.gpu.networks import placed, pooled_maps

__all__ = [
    "autocast_network",
    "channels_last_network",
    "compiled_network",
    "gradients_of_a_network",
    "graph_of_a_training_step",
    "infinite_step",
    "maps",
]

_PIXELS, _BATCH = 64, 8
_COMPILING = 30  # seconds that Inductor may take for the network


def maps(tiny: bool) -> Iterator[Map]:
    """What the network pools in the checks; nothing where torchvision is not installed."""
    try:
        _network(tiny)
    except ModuleNotFoundError:
        return
    shape = (_BATCH, 3, _PIXELS, _PIXELS)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for layout in (torch.contiguous_format, torch.channels_last):
            if dtype == torch.float32 or layout == torch.channels_last:
                yield from pooled_maps(_network(tiny), shape, dtype, layout)


def _network(tiny: bool) -> nn.Module:
    """ResNet-18 with learned sizes, or a few layers; always with the same weights, on the CPU."""
    return copy.deepcopy(_converted(tiny))


@lru_cache(maxsize=1)
def _converted(tiny: bool) -> nn.Module:
    torch.manual_seed(0)
    if tiny:
        design: nn.Module = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
        )  # fmt: skip
    else:
        import torchvision

        design = torchvision.models.resnet18(num_classes=10)
    return dynpool.convert(design, (3, _PIXELS, _PIXELS))


def _images(device: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(_BATCH, 3, _PIXELS, _PIXELS, generator=generator, dtype=torch.float64)
    return images.to(device, dtype), torch.arange(_BATCH, device=device) % 10


def _alphas(model: nn.Module) -> list[Tensor]:
    return [r.alpha for r in model.modules() if isinstance(r, dynpool.LearnedResizer2d) and r.alpha is not None]


def _gradients(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, its gradients to the alphas, and to the first weights."""
    loss = F.cross_entropy(model(images).float(), labels)
    first = next(p for p in model.parameters() if p.dim() == 4)
    *alphas, weights = torch.autograd.grad(loss, [*_alphas(model), first])
    return loss.detach(), torch.cat(alphas), weights


NAMES = "loss alpha weights"


def gradients_of_a_network(context: Context) -> str:
    """In float32 they are those in float64 on the CPU."""
    found = _gradients(_network(context.tiny).to(context.device), *_images(context.device))
    expected = _gradients(_network(context.tiny).double(), *_images("cpu", torch.float64))
    return close(NAMES, found, expected, 1e-2)


def channels_last_network(context: Context) -> str:
    """Every pool keeps channels_last, and gradients are those of the contiguous network."""
    images, labels = _images(context.device)
    expected = _gradients(_network(context.tiny).to(context.device), images, labels)
    model = placed(_network(context.tiny), context.device)
    other: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, dynpool.DynOPool2d):
            module.register_forward_hook(_note_layout(name, other))
    found = _gradients(model, images.contiguous(memory_format=torch.channels_last), labels)
    require(not other, f"not channels_last behind {', '.join(other)}")
    return close(NAMES, found, expected, 5e-2)  # 0.013 on a CPU: rounding decides which of near pixels wins


def _note_layout(name: str, other: list[str]) -> Callable[[nn.Module, object, Tensor], None]:
    def note(module: nn.Module, given: object, y: Tensor) -> None:
        if not y.is_contiguous(memory_format=torch.channels_last):
            other.append(name)

    return note


def autocast_network(context: Context) -> str:
    """Under autocast to bfloat16, gradients are finite, near those in float32, and alphas' in float32."""
    model = placed(_network(context.tiny), context.device)
    images, labels = _images(context.device)
    images = images.contiguous(memory_format=torch.channels_last)
    expected = _gradients(model, images, labels)
    with torch.autocast(context.device, dtype=torch.bfloat16):
        found = _gradients(model, images, labels)
    require(found[1].dtype == torch.float32, f"gradients to alphas are of {found[1].dtype}")
    require(all(bool(t.isfinite().all()) for t in found), "a gradient is not finite")
    return close("loss", found[:1], expected[:1], 5e-2)


def infinite_step(context: Context) -> str:
    """GradScaler skips a step of infinite gradients, which leaves the alphas alone, and halves its scale."""
    model = placed(_network(context.tiny), context.device)
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, lr=0.01, alpha_lr=0.01))
    scaler = torch.amp.GradScaler(context.device, init_scale=256.0)
    images, labels = _images(context.device)
    images = images.contiguous(memory_format=torch.channels_last)
    seen = []
    for factor in (float("inf"), 1.0):
        before = torch.cat(_alphas(model)).detach().clone()
        optimizer.zero_grad()
        with torch.autocast(context.device, dtype=torch.float16):
            loss = F.cross_entropy(model(images).float(), labels) * factor
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        dynpool.constrain(model)
        seen.append(not torch.equal(before, torch.cat(_alphas(model)).detach()))
    require(seen == [False, True], f"alphas moved by the infinite step, by the next one: {seen}")
    require(scaler.get_scale() == 128.0, f"the scale is {scaler.get_scale()}, not 128")
    require(all(bool(p.isfinite().all()) for p in model.parameters()), "a parameter is not finite")
    return ""


def graph_of_a_training_step(context: Context) -> str:
    """Forward, backward and the optimiser's step captured as one CUDA graph; replayed, gradients are the eager ones."""
    needs_cuda(context)
    model = placed(_network(context.tiny), context.device)
    images, labels = _images(context.device)
    images = images.contiguous(memory_format=torch.channels_last)
    start = copy.deepcopy(model.state_dict())  # with its metadata, which say how the model was converted
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, lr=1e-3, alpha_lr=0.0))

    def step() -> Tensor:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    def gradients(loss: Tensor) -> tuple[Tensor, ...]:
        first = next(p for p in model.parameters() if p.dim() == 4)
        found = [parameter.grad for parameter in (*_alphas(model), first) if parameter.grad is not None]
        return loss.detach().clone(), torch.cat(found[:-1]), found[-1].clone()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            step()
            dynpool.constrain(model)
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    model.load_state_dict(start)
    graph.replay()
    torch.cuda.synchronize()
    found = gradients(loss)
    model.load_state_dict(start)
    optimizer.zero_grad(set_to_none=True)
    return close(NAMES, found, gradients(step()), 2e-2)


def compiled_network(context: Context) -> str:
    """Compiled by Inductor, gradients are those without."""
    if context.left() < _COMPILING:
        raise NotHere(f"less than {_COMPILING} s were left")
    model = placed(_network(context.tiny), context.device)
    images, labels = _images(context.device)
    images = images.contiguous(memory_format=torch.channels_last)
    expected = _gradients(copy.deepcopy(model), images, labels)
    compiled: Callable[[Tensor], Tensor] = torch.compile(model)
    loss = F.cross_entropy(compiled(images).float(), labels)
    first = next(p for p in model.parameters() if p.dim() == 4)
    *alphas, weights = torch.autograd.grad(loss, [*_alphas(model), first])
    return close(NAMES, (loss.detach(), torch.cat(alphas), weights), expected, 5e-2)
