"""Resizers called as functions become modules, so that they are converted, tied and frozen as any other.

While a module runs that calls `F.conv2d`, `F.max_pool2d`, `F.avg_pool2d` or `F.interpolate` itself, a function mode
sends each such call that resizes to a child module of the same arithmetic (`resize_0`, `resize_1`, ... in order of the
calls). Calls that its children make are their own affair. Copies and pickles of the model keep this, state dicts do not
know of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .graph import Graph, Node
from .kinds import register_kind
from .planners import plan_convolution
from .rules.context import ints

__all__ = ["CalledConv2d", "name_calls"]

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


class _Calls(TorchFunctionMode):
    """Sends the calls that `owner` itself makes to its children."""

    def __init__(self, owner: nn.Module, names: dict[tuple[str, int], str]) -> None:
        super().__init__()
        self.owner, self.names = owner, names
        self.depth = 0  # of children that run
        self.count: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        family = _FAMILIES.get(func)
        if self.depth or family is None:
            return func(*args, **kwargs)
        at = (family, self.count[family])
        self.count[family] += 1
        if at not in self.names:
            return func(*args, **kwargs)
        child = self.owner.get_submodule(self.names[at])
        return child(*args, **kwargs) if family == "convolution" else child(args[0] if args else kwargs["input"])


class CallsOf:
    """The hooks of one module that calls resizers as functions; the running modes are a stack, as calls may nest."""

    def __init__(self, names: dict[tuple[str, int], str]) -> None:
        self.names = names
        self.running: list[_Calls] = []

    def enter(self, module: nn.Module, args: Any) -> None:
        mode = _Calls(module, self.names)
        mode.__enter__()
        self.running.append(mode)

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        if self.running:  # not if an earlier hook failed before `enter`
            self.running.pop().__exit__(None, None, None)

    def enter_child(self, module: nn.Module, args: Any) -> None:
        if self.running:
            self.running[-1].depth += 1

    def leave_child(self, module: nn.Module, args: Any, out: Any) -> None:
        if self.running:
            self.running[-1].depth -= 1


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
    for path, made in wanted.items():
        owner = modules[path]
        calls = CallsOf({at: f"resize_{k}" for k, at in enumerate(made)})
        for child in owner.children():
            child.register_forward_pre_hook(calls.enter_child, prepend=True)
            child.register_forward_hook(calls.leave_child, always_call=True)
        for at, name in calls.names.items():
            owner.register_module(name, made[at].train(owner.training))
        owner.register_forward_pre_hook(calls.enter)
        owner.register_forward_hook(calls.leave, prepend=True, always_call=True)
    return bool(wanted)


def _how_manieth(graph: Graph, node: Node, family: str) -> int:
    """How many calls of the family the module made before this one, in the same call of its own."""
    same = (n for n in graph.nodes[: node.index] if (n.path, n.call) == (node.path, node.call))
    return sum(_family(n) == family for n in same)


def _family(node: Node) -> str | None:
    if node.op == "aten.convolution" and (node.args[6] or len(node.args[3]) != 2):  # transposed, or not of images
        return None
    return _MAKERS[node.op][0] if node.op in _MAKERS else None
