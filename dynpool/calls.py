"""Resizers called as functions become modules, so that they are converted, tied and frozen as any other.

While a module runs that calls `F.conv2d`, `F.max_pool2d`, `F.avg_pool2d` or `F.interpolate` itself, a function mode
sends each such call that resizes to a child module of the same arithmetic (`resize_0`, `resize_1`, ... in order of the
calls). Calls made by modules below it, at any depth, are not intercepted. Copies and pickles of the model keep this,
state dicts do not know of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .graph import Graph, Node
from .kinds import register_kind
from .planners import plan_convolution
from .rules.context import ints

__all__ = ["CalledConv2d", "name_calls", "shield"]

Pair = tuple[int, int]


class CalledConv2d(nn.Module):
    """A convolution without weights of its own: they come with each call, as do those of `F.conv2d`."""

    def __init__(self, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        return F.conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, groups={self.groups}"


register_kind(CalledConv2d)(plan_convolution)


def _argument(node: Node, index: int, default: Any) -> Any:
    return node.args[index] if len(node.args) > index else default


def _convolution(node: Node) -> nn.Module:
    stride, padding, dilation = (_pair(node.args[i]) for i in (3, 4, 5))
    return CalledConv2d(stride, padding, dilation, node.args[8])


def _max_pool(node: Node) -> nn.Module:
    kernel, padding, dilation = (_pair(_argument(node, i, default)) for i, default in ((1, 1), (3, 0), (4, 1)))
    stride = _pair(_argument(node, 2, None) or kernel)
    return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=bool(_argument(node, 5, False)))


def _avg_pool(node: Node) -> nn.Module:
    kernel, padding = _pair(node.args[1]), _pair(_argument(node, 3, 0))
    stride = _pair(_argument(node, 2, None) or kernel)
    ceil_mode, counts = bool(_argument(node, 4, False)), bool(_argument(node, 5, True))
    return nn.AvgPool2d(kernel, stride, padding, ceil_mode, counts, _argument(node, 6, None))


def _upsampling(node: Node) -> nn.Module:
    mode = _MODES[node.op]
    align = node.args[2] if mode in ("bilinear", "bicubic") else None
    return nn.Upsample(scale_factor=tuple(node.args[-2:]), mode=mode, align_corners=align)


_MODES = {
    "aten.upsample_nearest2d": "nearest",
    "aten._upsample_nearest_exact2d": "nearest-exact",
    "aten.upsample_bilinear2d": "bilinear",
    "aten.upsample_bicubic2d": "bicubic",
}
# By ATen operation: the family it is counted in, and the module that does the same.
_MAKERS: Mapping[str, tuple[str, Callable[[Node], nn.Module]]] = {
    "aten.convolution": ("convolution", _convolution),
    "aten.max_pool2d_with_indices": ("max_pool", _max_pool),
    "aten.max_pool2d": ("max_pool", _max_pool),
    "aten.avg_pool2d": ("avg_pool", _avg_pool),
    **dict.fromkeys(_MODES, ("upsampling", _upsampling)),
}
# The functions of the same families, as a function mode sees them.
_FAMILIES: Mapping[Callable[..., Any], str] = {
    F.conv2d: "convolution",
    F.max_pool2d: "max_pool",
    torch.max_pool2d: "max_pool",
    F.max_pool2d_with_indices: "max_pool",
    F.avg_pool2d: "avg_pool",
    F.interpolate: "upsampling",
}


def _pair(value: Any) -> Pair:
    h, w = ints(list(value) if isinstance(value, tuple) else value, 2, 0)
    return (h, w)


@dataclass
class _Frame:
    """A module that runs, with its function mode if it calls resizers as functions."""

    module: nn.Module
    mode: _Calls | None = None


class _Calls(TorchFunctionMode):
    """Sends the calls that `owner` itself makes to its children."""

    def __init__(self, owner: nn.Module, names: dict[tuple[str, int], str], running: list[_Frame]) -> None:
        super().__init__()
        self.owner, self.names, self.running = owner, names, running
        self.count: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        family = _FAMILIES.get(func)
        if family is None or not self.running or self.running[-1].mode is not self:
            return func(*args, **kwargs)
        at = (family, self.count[family])
        self.count[family] += 1
        if at not in self.names:
            return func(*args, **kwargs)
        child = self.owner.get_submodule(self.names[at])
        return child(*args, **kwargs) if family == "convolution" else child(args[0] if args else kwargs["input"])


class CallsOf:
    """The hooks of one module in a model that calls resizers as functions.

    Args:
        running: the modules that run, the innermost last; one list for the whole model. Only the innermost one's calls
            are sent to its children.
        names: by family and number of the call, the child that it is sent to; empty for a module without such calls.
    """

    def __init__(self, running: list[_Frame], names: dict[tuple[str, int], str] | None = None) -> None:
        self.running = running
        self.names = names or {}

    def attach(self, module: nn.Module) -> None:
        """The module's own hooks run as they are traced: those before it as part of it, those behind it not."""
        module.register_forward_pre_hook(self.enter, prepend=True)
        module.register_forward_hook(self.leave, prepend=True, always_call=True)

    def enter(self, module: nn.Module, args: Any) -> None:
        mode = _Calls(module, self.names, self.running) if self.names else None
        self.running.append(_Frame(module, mode))
        if mode is not None:
            mode.__enter__()

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        if self.running and self.running[-1].module is module:  # else an earlier hook failed before `enter`
            mode = self.running.pop().mode
            if mode is not None:
                mode.__exit__(None, None, None)


def _calls_of(module: nn.Module) -> CallsOf | None:
    owners = (getattr(hook, "__self__", None) for hook in module._forward_pre_hooks.values())
    return next((owner for owner in owners if isinstance(owner, CallsOf)), None)


def shield(model: nn.Module) -> None:
    """Keep the calls inside all modules below one that calls resizers as functions apart from its own.

    To be repeated when modules were added or replaced.
    """
    for owner in list(model.modules()):
        calls = _calls_of(owner)
        if calls is not None and calls.names:
            for module in owner.modules():
                if _calls_of(module) is None:
                    CallsOf(calls.running).attach(module)


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
        make = _MAKERS[node.op][1]
        wanted.setdefault(resize.path, {}).setdefault((family, _how_manieth(graph, node, family)), make(node))
    running: list[_Frame] = []
    for path, made in wanted.items():
        owner = modules[path]
        calls = CallsOf(running, {at: f"resize_{k}" for k, at in enumerate(made)})
        for at, name in calls.names.items():
            owner.register_module(name, made[at].train(owner.training))
        calls.attach(owner)
    shield(model)
    return bool(wanted)


def _how_manieth(graph: Graph, node: Node, family: str) -> int:
    """How many calls of the family the module made before this one, in the same call of its own."""
    same = (n for n in graph.nodes[: node.index] if (n.path, n.call) == (node.path, node.call))
    return sum(_family(n) == family for n in same)


def _family(node: Node) -> str | None:
    if node.op == "aten.convolution" and (node.args[6] or len(node.args[3]) != 2):  # transposed, or not of images
        return None
    return _MAKERS[node.op][0] if node.op in _MAKERS else None
