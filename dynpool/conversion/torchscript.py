"""What torch.jit.script compiles of a frozen model: a copy whose hooks are functions that TorchScript understands."""

from __future__ import annotations

from functools import partial
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.graph import deep_copy
from dynpool.resizers import FixedInterpolate, FixedPool
from dynpool.resolution import (
    FittingConvTranspose1d,
    FittingConvTranspose2d,
    FittingConvTranspose3d,
    GiveSize,
    ResizeAfter,
    TakeStride,
    align,
    detach_frozen,
    frozen_sizes,
    resize_before,
)
from dynpool.size_math import Size

__all__ = ["let_script"]


_PREPARE = "__prepare_scriptable__"  # what torch.jit.script asks a module for


class AlignedResize(nn.Module):
    """A resizer behind :func:`dynpool.resolution.stride_forms.align`."""

    def __init__(self, start: Size, end: Size, resize: nn.Module) -> None:
        super().__init__()
        self.start, self.end, self.resize = list(start), list(end), resize

    def forward(self, x: Tensor) -> Tensor:
        return self.resize(align(x, self.start, self.end))


# A transposed convolution and the resizer behind it: optional arguments and hooks exclude each other here.


class TransposedThenResized1d(FittingConvTranspose1d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        stride, padding, kernel, dilation = self.stride, self.padding, self.kernel_size, self.dilation
        added = self._output_padding(input, output_size, stride, padding, kernel, 1, dilation)  # type: ignore[arg-type]
        out = F.conv_transpose1d(
            input, self.weight, self.bias, stride, padding, added, self.groups, dilation  # type: ignore[arg-type]
        )  # fmt: skip
        return self.resize(out)  # type: ignore[operator]


class TransposedThenResized2d(FittingConvTranspose2d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        stride, padding, kernel, dilation = self.stride, self.padding, self.kernel_size, self.dilation
        added = self._output_padding(input, output_size, stride, padding, kernel, 2, dilation)  # type: ignore[arg-type]
        out = F.conv_transpose2d(
            input, self.weight, self.bias, stride, padding, added, self.groups, dilation  # type: ignore[arg-type]
        )  # fmt: skip
        return self.resize(out)  # type: ignore[operator]


class TransposedThenResized3d(FittingConvTranspose3d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        stride, padding, kernel, dilation = self.stride, self.padding, self.kernel_size, self.dilation
        added = self._output_padding(input, output_size, stride, padding, kernel, 3, dilation)  # type: ignore[arg-type]
        out = F.conv_transpose3d(
            input, self.weight, self.bias, stride, padding, added, self.groups, dilation  # type: ignore[arg-type]
        )  # fmt: skip
        return self.resize(out)  # type: ignore[operator]


_TRANSPOSED: dict[type, type] = {
    FittingConvTranspose1d: TransposedThenResized1d,
    FittingConvTranspose2d: TransposedThenResized2d,
    FittingConvTranspose3d: TransposedThenResized3d,
}


def _resized_before(self: Any, input: tuple[Tensor]) -> tuple[Tensor]:
    return (self.resize(input[0]),)


def _resized_after(self: Any, input: tuple[Tensor], output: Tensor) -> Tensor:
    return self.resize(output)


def let_script(model: nn.Module) -> None:
    """Let torch.jit.script compile a frozen model, and any part of it, at the sizes of the conversion."""
    for module in model.modules():
        if module is model or any(_own_hooks(part) for part in module.modules()):
            setattr(module, _PREPARE, partial(_scriptable, module))


def _own_hooks(module: nn.Module) -> bool:
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return any(isinstance(hook, GiveSize | TakeStride | ResizeAfter) or hook is resize_before for hook in hooks)


def _scriptable(model: nn.Module) -> nn.Module:
    """A copy for the compiler; its weights have the same names.

    Raises:
        TypeError: if the model has hooks that TorchScript cannot compile.
    """
    plain = deep_copy(model)
    for module in plain.modules():
        vars(module).pop(_PREPARE, None)
    if frozen_sizes(plain) is not None:
        detach_frozen(plain)
    for name, module in list(plain.named_modules()):
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, GiveSize) and isinstance(module, FixedPool | FixedInterpolate):
                target = hook.frozen_target()
                module.size = target if isinstance(module, FixedPool) else list(target)
                del module._forward_pre_hooks[key], module._forward_pre_hooks_with_kwargs[key]
            elif isinstance(hook, TakeStride):
                hook.give(module)
                del module._forward_pre_hooks[key]
            elif hook is resize_before:
                module._forward_pre_hooks[key] = _resized_before
                del module._forward_pre_hooks_with_kwargs[key]
            elif not isinstance(hook, FunctionType):
                _refuse(name, module)
        for key, hook in list(module._forward_hooks.items()):
            if isinstance(hook, ResizeAfter):
                _compile(module, key, hook)
            elif not isinstance(hook, FunctionType):
                _refuse(name, module)
    return plain


def _compile(layer: nn.Module, key: int, hook: ResizeAfter) -> None:
    if hook.native:
        del layer._forward_hooks[key], layer._modules["resize"]
        return
    if any(hook.start) or any(hook.end):
        layer.register_module("resize", AlignedResize(hook.start, hook.end, layer.get_submodule("resize")))
    if type(layer) in _TRANSPOSED:
        del layer._forward_hooks[key]
        layer.__class__ = _TRANSPOSED[type(layer)]
    else:
        layer._forward_hooks[key] = _resized_after


def _refuse(name: str, module: nn.Module) -> None:
    raise TypeError(
        f"torch.jit.script cannot compile {name or 'the model'} ({type(module).__name__}) of a frozen model, as its "
        "sizes, or the functions that it calls, are changed by Python code that runs before it: use torch.jit.trace or "
        "torch.export"
    )
