"""Puts convolutions that learn their kernel in the place of a network's own, and plain ones back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Unpack

from torch import nn
from torch.nn.utils import parametrize

from dynpool.common.arguments import check_model
from dynpool.graph import Graph, PassOptions, check_input_size, deep_copy, primitives, trace
from dynpool.resizers import LearnedKernelConv2d, learned_kernels
from dynpool.resolution import check_unwrapped, resolution_tree
from dynpool.size_math import Size, pair

from .rewrite import replace_module

__all__ = ["KernelReport", "KernelRow", "freeze_kernels", "replace_convolutions", "take_hooks"]

Make = Callable[[nn.Conv2d, Size], LearnedKernelConv2d | str]


@dataclass(frozen=True)
class KernelRow:
    """One convolution: its module path, kind, map and kernel, both (height, width) in pixels, status and reason.

    `kernel` is that of the original; `live` that of the convolution in its place, None if it was left alone.
    """

    name: str
    kind: str
    map: Size
    kernel: Size
    status: Literal["replaced", "left alone"]
    live: Size | None = None
    why: str = ""


@dataclass(frozen=True)
class KernelReport:
    """One row for each convolution of the original model, in order of execution; parameters before and after."""

    input_size: tuple[int, ...]
    rows: tuple[KernelRow, ...]
    parameters: tuple[int, int]

    @property
    def replaced(self) -> tuple[KernelRow, ...]:
        """The rows of the convolutions that were replaced."""
        return tuple(row for row in self.rows if row.status == "replaced")

    def to_dict(self) -> dict[str, Any]:
        return {
            "input_size": list(self.input_size),
            "rows": [asdict(row) for row in self.rows],
            "parameters": list(self.parameters),
        }

    def __str__(self) -> str:
        width = max([len(row.name) for row in self.rows] + [11])
        kinds = max([len(row.kind) for row in self.rows] + [4])
        lines = [f"{'convolution':<{width}}  {'kind':<{kinds}}  {'map':>9}  {'kernel':>7}  {'live':>7}  why"]
        for row in self.rows:
            live = "" if row.live is None else _by(row.live)
            why = f"left alone: {row.why}" if row.why else ""
            line = (
                f"{row.name:<{width}}  {row.kind:<{kinds}}  {_by(row.map):>9}  {_by(row.kernel):>7}  {live:>7}  {why}"
            )
            lines.append(line.rstrip())
        before, after = self.parameters
        lines.append(f"{len(self.replaced)} of {len(self.rows)} replaced, {before:,} -> {after:,} parameters")
        return "\n".join(lines)


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def replace_convolutions(
    model: nn.Module, input_size: Sequence[int], make: Make, **options: Unpack[PassOptions]
) -> tuple[nn.Module, KernelReport]:
    """A copy of a model in which convolutions learn their kernel, and a report of what was replaced or left alone.

    Left alone, with the reason in the report, are transposed, pointwise, depthwise, one-dimensional, dilated and
    even-sized convolutions, those of a subclass of `nn.Conv2d`, with parametrised or shared weights or without a
    module, and those whose new kernel would be larger than their map. Hooks and child modules of a layer move to the
    new one; names of all other weights stay.

    Args:
        model: any module without learned sizes; it is not changed.
        input_size: (C, H, W) in pixels.
        make: (layer, (height, width) of its smallest input map) -> the convolution that replaces it, or the reason why
            it is left alone.
        options: what a pass needs besides an image, as in :func:`dynpool.convert`.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a model that cannot run at `input_size`, has been converted, or has no convolution to replace.
    """
    check_model(model)
    check_unwrapped(model, "give learned kernels")
    size = check_input_size(input_size, 2)
    if resolution_tree(model) is not None:
        kind = type(model).__name__
        raise ValueError(f"model is a {kind} that has been converted: replace its convolutions first, then convert it")
    graph = trace(model, size, **options)
    copy = deep_copy(model)
    modules = dict(copy.named_modules())
    before = sum(p.numel() for p in copy.parameters())
    owners = Counter(id(p) for module in copy.modules() for p in module.parameters(recurse=False))
    rows = []
    for path, (window, map_size) in _convolutions(graph).items():
        layer = modules.get(path)
        kind = "convolution" if layer is None else type(layer).__name__
        row = KernelRow(path or kind, kind, map_size, pair(window.kernel), "left alone")
        shared = layer is not None and any(owners[id(p)] > 1 for p in layer.parameters(recurse=False))
        made = "it shares its weights" if shared else _replacement(layer, window, map_size, make)
        if isinstance(made, str) or layer is None:
            rows.append(replace(row, why=str(made)))
            continue
        take_hooks(made, layer)
        if path:
            replace_module(modules, path, made)
        else:
            copy = made
        rows.append(replace(row, status="replaced", live=made.extent))
    report = KernelReport(size, tuple(rows), (before, sum(p.numel() for p in copy.parameters())))
    if not report.replaced:
        raise ValueError(f"model is a {type(model).__name__} without a convolution that can be replaced:\n{report}")
    return copy, report


def _convolutions(graph: Graph) -> dict[str, tuple[primitives.Window, Size]]:
    """The convolutions of a pass by module path, in order of execution, and the smallest map that each of them gets."""
    found: dict[str, tuple[primitives.Window, Size]] = {}
    for node in graph.nodes:
        p = node.primitive
        if not isinstance(p, primitives.Window) or p.weight is None or len(p.kernel) != 2:
            continue
        size = pair(p.x.shape[-2:])
        before = found.get(node.path)
        least = size if before is None else pair(min(a, b) for a, b in zip(size, before[1], strict=True))
        found[node.path] = (p, least)
    return found


def _replacement(
    layer: nn.Module | None, window: primitives.Window, map_size: Size, make: Make
) -> LearnedKernelConv2d | str:
    """What replaces a convolution, or why it is left alone."""
    height, width = window.kernel
    if window.transposed:
        return "it is transposed"
    if isinstance(layer, LearnedKernelConv2d):
        return "it learns its kernel already"
    if layer is not None and parametrize.is_parametrized(layer):
        return "its weights are parametrised"
    if type(layer) is not nn.Conv2d:
        return "it is a subclass of nn.Conv2d" if isinstance(layer, nn.Conv2d) else "it is called as a function"
    if (height, width) == (1, 1):
        return "it is pointwise"
    if layer.groups == layer.in_channels > 1:
        return "it is depthwise: already separable"
    if 1 in (height, width):
        return "it is one-dimensional: already separable"
    if layer.dilation != (1, 1):
        return f"its dilation is {_by(layer.dilation)}"
    if height % 2 == 0 or width % 2 == 0:
        return "its kernel has an even side, and no central pixel"
    if layer.padding_mode != "zeros":
        return f"its padding mode is {layer.padding_mode!r}"
    made = make(layer, map_size)
    if isinstance(made, LearnedKernelConv2d) and any(k > n for k, n in zip(made.extent, map_size, strict=True)):
        return f"its kernel of {_by(made.extent)} pixels would be larger than its map"
    return made


def take_hooks(new: nn.Module, old: nn.Module) -> None:
    """Give a layer the hooks, the mode and the child modules of the one it replaces, but not those of its kernel."""
    kernel = old.kernel_parameters() if isinstance(old, LearnedKernelConv2d) else ()
    mine = set(map(id, kernel))
    for name in vars(old):
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
            setattr(new, name, getattr(old, name))
    for name, child in old.named_children():
        if not any(id(parameter) in mine for parameter in child.parameters()):
            new.register_module(name, child)
    new.train(old.training)


def freeze_kernels(model: nn.Module) -> nn.Module:
    """Replace every learned kernel in a model by its frozen form; returns the model, or what takes its place."""
    modules = dict(model.named_modules())
    for path, layer in learned_kernels(model).items():
        fixed = layer.frozen()
        take_hooks(fixed, layer)
        if not path:
            return fixed
        replace_module(modules, path, fixed)
    return model
