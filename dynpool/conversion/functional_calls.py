"""Resizers called as functions become modules, so that they are converted, tied and frozen as any other.

While a module runs that calls `F.conv2d`, `F.max_pool2d`, `F.avg_pool2d`, those of other axes, or `F.interpolate`
itself, a function mode sends each such call that resizes to a child module of the same arithmetic (`resize_0`,
`resize_1`, ... in order of the calls). Calls made by modules below it, at any depth, are not intercepted. Copies and
pickles of the model keep this, state dicts do not know of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dynpool.graph import Graph, Node, Resize
from dynpool.size_math import Size

from .layer_kinds import plan_convolution
from .registry import of_other_axes, register_kind

__all__ = ["CalledConv", "Running", "name_calls", "running_in", "shield", "watch"]


_CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_MAX_POOLS: Mapping[int, Callable[..., nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVG_POOLS: Mapping[int, Callable[..., nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class CalledConv(nn.Module):
    """A convolution without weights of its own: they come with each call, as do those of `F.conv2d`."""

    def __init__(self, stride: Size, padding: Size, dilation: Size, groups: int) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        convolve = _CONVOLUTIONS[len(self.stride)]
        return convolve(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, groups={self.groups}"


register_kind(CalledConv)(plan_convolution)


def _convolution(node: Node, resize: Resize) -> nn.Module:
    return CalledConv(resize.stride, resize.padding, resize.dilation, node.arguments["groups"])


def _max_pool(node: Node, resize: Resize) -> nn.Module:
    make = _MAX_POOLS[resize.axes]
    return make(resize.kernel, resize.stride, resize.padding, resize.dilation, ceil_mode=resize.ceil_mode)


def _avg_pool(node: Node, resize: Resize) -> nn.Module:
    given = node.arguments
    more = () if resize.axes == 1 else (given["divisor_override"],)
    counts = bool(given["count_include_pad"])
    return _AVG_POOLS[resize.axes](resize.kernel, resize.stride, resize.padding, resize.ceil_mode, counts, *more)


def _upsampling(node: Node, resize: Resize) -> nn.Module:
    mode, align_corners = _MODES[node.op], node.arguments.get("align_corners")
    return nn.Upsample(scale_factor=resize.scale, mode=mode, align_corners=align_corners)


_MODES = {
    **{f"aten.upsample_nearest{n}d": "nearest" for n in (1, 2, 3)},
    **{f"aten._upsample_nearest_exact{n}d": "nearest-exact" for n in (1, 2, 3)},
    "aten.upsample_linear1d": "linear",
    "aten.upsample_bilinear2d": "bilinear",
    "aten.upsample_trilinear3d": "trilinear",
    "aten.upsample_bicubic2d": "bicubic",
}
# By ATen operation: the family it is counted in, and the module that does the same.
_MAKERS: Mapping[str, tuple[str, Callable[[Node, Resize], nn.Module]]] = {
    "aten.convolution": ("convolution", _convolution),
    **{f"aten.max_pool{n}d{also}": ("max_pool", _max_pool) for n in (1, 2, 3) for also in ("", "_with_indices")},
    **{f"aten.avg_pool{n}d": ("avg_pool", _avg_pool) for n in (1, 2, 3)},
    **dict.fromkeys(_MODES, ("upsampling", _upsampling)),
}
# The functions of the same families, as a function mode sees them.
_WITH_INDICES = (F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices)
_FAMILIES: Mapping[Callable[..., Any], str] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), "convolution"),
    **dict.fromkeys((F.max_pool1d, F.max_pool2d, F.max_pool3d), "max_pool"),
    **dict.fromkeys((torch.max_pool1d, torch.max_pool2d, torch.max_pool3d, *_WITH_INDICES), "max_pool"),
    **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), "avg_pool"),
    F.interpolate: "upsampling",
}
_POOLS_OF_MAPS = (F.max_pool2d, torch.max_pool2d, F.max_pool2d_with_indices, F.avg_pool2d)


@dataclass
class _Frame:
    """A module that runs: its path at the conversion, if its calls are counted, and its function mode, if it has one.

    `counts` are the calls that it made so far of each layer that is called in turn.
    """

    module: nn.Module
    path: str | None = None
    mode: _Calls | None = None
    counts: dict[int, int] = field(default_factory=dict)


class Running:
    """The modules of one model that run, the innermost last."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []

    def call_of(self, module: nn.Module) -> tuple[str, int] | None:
        """The caller of the running module, and the index of this call among the caller's; None if unknown."""
        if len(self.frames) < 2 or self.frames[-1].module is not module:
            return None
        caller = self.frames[-2]
        if caller.path is None:
            return None
        k = caller.counts[id(module)] = caller.counts.get(id(module), -1) + 1
        return (caller.path, k)


class _Calls(TorchFunctionMode):
    """Sends the calls that `owner` itself makes to its children."""

    def __init__(self, owner: nn.Module, names: dict[tuple[str, int], str], running: Running, axes: int) -> None:
        super().__init__()
        self.owner, self.names, self.running, self.axes = owner, names, running, axes
        self.count: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        family = _FAMILIES.get(func)
        frames = self.running.frames
        if family is None or not frames or frames[-1].mode is not self:
            return func(*args, **kwargs)
        at = (family, self.count[family])
        self.count[family] += 1
        if at not in self.names:
            return func(*args, **kwargs)
        child = self.owner.get_submodule(self.names[at])
        if family == "convolution":
            return child(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        of_height_one = self.axes == 1 and func in _POOLS_OF_MAPS  # a sequence as a map
        out = child(x.squeeze(-2)).unsqueeze(-2) if of_height_one else child(x)
        return (out, None) if func in _WITH_INDICES else out  # indices that nothing uses


class CallsOf:
    """The hooks of one module in a model whose calls of resizers are distinguished.

    Args:
        running: the modules that run. Only the innermost one's calls of functions are sent to its children.
        path: at the conversion, if its calls are counted.
        names: by family and number of the call, the child that it is sent to; empty for a module without such calls.
    """

    def __init__(self, running: Running, path: str | None = None) -> None:
        self.running, self.path = running, path
        self.names: dict[tuple[str, int], str] = {}
        self.axes = 2  # of the model's input

    def enter(self, module: nn.Module, args: Any) -> None:
        mode = _Calls(module, self.names, self.running, self.axes) if self.names else None
        self.running.frames.append(_Frame(module, self.path, mode))
        if mode is not None:
            mode.__enter__()

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        frames = self.running.frames
        if frames and frames[-1].module is module:  # else an earlier hook failed before `enter`
            mode = frames.pop().mode
            if mode is not None:
                mode.__exit__(None, None, None)


def _calls_of(module: nn.Module) -> CallsOf | None:
    owners = (getattr(hook, "__self__", None) for hook in module._forward_pre_hooks.values())
    return next((owner for owner in owners if isinstance(owner, CallsOf)), None)


def running_in(model: nn.Module) -> Running:
    """The record of running modules in a model whose calls are distinguished; a new one for other models."""
    return next((calls.running for m in model.modules() if (calls := _calls_of(m)) is not None), Running())


def watch(module: nn.Module, running: Running, path: str | None = None) -> CallsOf:
    """Know when the module runs; with a `path`, count its calls.

    Its own hooks run as they are traced: those before it as part of it, those behind it not.
    """
    calls = _calls_of(module)
    if calls is None:
        calls = CallsOf(running)
        module.register_forward_pre_hook(calls.enter, prepend=True)
        module.register_forward_hook(calls.leave, prepend=True, always_call=True)
        for hooks in (module._forward_pre_hooks, module._forward_hooks):  # torch 2.11 compiles in the order of adding
            items = list(hooks.items())
            hooks.clear()
            hooks.update(items)
    calls.path = path if calls.path is None else calls.path
    return calls


def shield(model: nn.Module) -> None:
    """Keep the calls inside all modules below one whose calls are counted apart from its own.

    To be repeated when modules were added or replaced.
    """
    for owner in list(model.modules()):
        calls = _calls_of(owner)
        if calls is not None and calls.path is not None:
            for module in owner.modules():
                watch(module, calls.running)


def name_calls(model: nn.Module, graph: Graph, known: Callable[[nn.Module], bool]) -> bool:
    """Give the resizers that modules of `model` call as functions modules of their own; whether there were any.

    Args:
        model: changed in place.
        graph: its trace.
        known: whether a module is a resizer as a whole.
    """
    modules = dict(model.named_modules())
    wanted: dict[str, dict[tuple[str, int], nn.Module]] = {}
    for resize in graph.resizes:
        node = graph.nodes[resize.node]
        family = _family(node)
        if family is None or None in resize.target or resize.given or known(modules[resize.path]):
            continue
        if family == "max_pool" and _indices_are_used(graph, node):
            continue
        axes = len(node.arguments["weight"].shape) - 2 if family == "convolution" else None
        if of_other_axes(resize, axes) or (graph.ndim == 1 and family.endswith("pool") and _mixes_rows(node)):
            continue
        at = (family, _occurrence_index(graph, node, family))
        wanted.setdefault(resize.path, {}).setdefault(at, _MAKERS[node.op][1](node, resize))
    running = running_in(model)
    for path, made in wanted.items():
        owner = modules[path]
        calls = watch(owner, running, path)
        calls.axes = graph.ndim
        calls.names = {at: f"resize_{k}" for k, at in enumerate(made)}
        for at, name in calls.names.items():
            owner.register_module(name, made[at].train(owner.training))
    shield(model)
    return bool(wanted)


def _indices_are_used(graph: Graph, node: Node) -> bool:
    """Whether they are read or outlive the pass; that PyTorch squeezes those of a pool of sequences does not count."""
    indices = set(node.outputs[1:])
    for reader in graph.nodes[node.index + 1 :]:
        if not indices.isdisjoint(reader.inputs):
            if reader.op != "aten.squeeze":
                return True
            indices.update(reader.outputs)
    return not indices.isdisjoint(graph.outputs)


def _mixes_rows(node: Node) -> bool:
    """Whether a pool on maps of height 1 differs from that of the sequences in them."""
    kernel, padding = (node.arguments[name] for name in ("kernel_size", "padding"))
    return (kernel[0], padding[0]) != (1, 0) or node.arguments.get("divisor_override") is not None


def _occurrence_index(graph: Graph, node: Node, family: str) -> int:
    """The number of earlier calls of the family that the module made in the same call of its own."""
    same = (n for n in graph.nodes[: node.index] if (n.path, n.call) == (node.path, node.call))
    return sum(_family(n) == family for n in same)


def _family(node: Node) -> str | None:
    if node.op == "aten.convolution" and node.arguments["transposed"]:
        return None
    return _MAKERS[node.op][0] if node.op in _MAKERS else None
