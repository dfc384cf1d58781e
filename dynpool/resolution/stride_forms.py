"""Stride-1 forms of strided layers, and the hooks that resize before or behind a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.size_math import Size

__all__ = [
    "FittingConvTranspose1d",
    "FittingConvTranspose2d",
    "FittingConvTranspose3d",
    "ResizeAfter",
    "Strided",
    "WindowPool",
    "align",
    "fit_output",
    "open_to_fx",
    "resize_before",
    "set_native",
    "stride_one",
]


def stride_one(module: nn.Module) -> nn.Module:
    """The module itself with its attribute `stride` set to 1, and `ceil_mode`, if it has one, to False."""
    stride = getattr(module, "stride")  # noqa: B009 - a Tensor or Module to the type checker otherwise
    setattr(module, "stride", 1 if isinstance(stride, int) else (1,) * len(stride))  # noqa: B010
    if getattr(module, "ceil_mode", False):
        setattr(module, "ceil_mode", False)  # noqa: B010
    return module


class WindowPool(nn.Module):
    """A max or average pool with given overlaps of the border: at stride 1 it has all windows of a strided pool.

    Args:
        reduce: "max" or "mean".
        kernel: sides of a window in pixels, one for each axis: one, two or three.
        low: pixels per axis by which the first window extends over the border; empty: none.
        high: the same for the last window at stride 1.
        dilation: dilation of the window ("max" only).
        counted: pixels beyond the border, (low, high) per axis, that count as zeros in a mean; pixels further out are
            ignored.
        divisor: divisor of the sum of a window, instead of the number of pixels counted.

    Shape: (N, C, H, W), or other axes -> (N, C, H + low + high - dilation * (kernel - 1), ...) as long as its `stride`
    is 1.
    """

    def __init__(
        self,
        reduce: Literal["max", "mean"],
        kernel: Size,
        *,
        low: Size = (),
        high: Size = (),
        dilation: Size = (),
        counted: tuple[Size, ...] = (),
        divisor: int | None = None,
    ) -> None:
        super().__init__()
        axes = len(kernel)
        self.reduce = reduce
        self.kernel, self.dilation = list(kernel), list(dilation or (1,) * axes)
        self.stride = [1] * axes
        self.around = _from_last_axis(low or (0,) * axes, high or (0,) * axes)
        self.inside = _from_last_axis(*zip(*(counted or ((0, 0),) * axes), strict=True))
        self.divisor = divisor

    def forward(self, input: Tensor) -> Tensor:
        if self.reduce == "max":
            return _max_pool(F.pad(input, self.around, value=-float("inf")), self.kernel, self.stride, self.dilation)
        sums = _sum_pool(F.pad(input, self.around), self.kernel, self.stride)
        if self.divisor is not None:
            return sums / self.divisor
        if self.inside == self.around:
            whole = 1
            for side in self.kernel:
                whole = whole * side
            return sums / whole
        return sums / self._counts(input)

    def _counts(self, x: Tensor) -> Tensor:
        axes = len(self.kernel)
        shape = [1, 1]
        shape.extend(x.shape[x.dim() - axes :])
        ones = F.pad(x.new_ones(shape), self.inside, value=1.0)
        rest = [out - counted for out, counted in zip(self.around, self.inside)]  # noqa: B905 - TorchScript
        counts = _sum_pool(F.pad(ones, rest), self.kernel, self.stride)
        return counts if x.dim() == axes + 2 else counts[0]

    def extra_repr(self) -> str:
        kernel, stride = tuple(self.kernel), tuple(self.stride)
        low, high = tuple(self.around[-2::-2]), tuple(self.around[::-2])
        return f"{self.reduce!r}, kernel={kernel}, stride={stride}, low={low}, high={high}"


def _from_last_axis(low: Size, high: Size) -> list[int]:
    """Pixels around a map, in the order of `F.pad`."""
    return [n for both in zip(low[::-1], high[::-1], strict=True) for n in both]


def _max_pool(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> Tensor:
    none = [0] * len(kernel)
    if len(kernel) == 1:
        return torch.max_pool1d(x, kernel, stride, none, dilation)
    if len(kernel) == 2:
        return torch.max_pool2d(x, kernel, stride, none, dilation)
    return torch.max_pool3d(x, kernel, stride, none, dilation)


def _sum_pool(x: Tensor, kernel: list[int], stride: list[int]) -> Tensor:
    if len(kernel) == 1:
        return F.avg_pool1d(x, kernel, stride) * kernel[0]
    if len(kernel) == 2:
        return F.avg_pool2d(x, kernel, stride, divisor_override=1)
    return F.avg_pool3d(x, kernel, stride, divisor_override=1)


def align(x: Tensor, start: list[int], end: list[int]) -> Tensor:
    """x without its first `start` pixels per axis, and padded by `end` pixels that repeat its last."""
    around = [0] * (2 * len(start))
    for i in range(len(start)):  # F.pad begins with the last axis
        around[-2 * i - 2], around[-2 * i - 1] = -start[i], end[i]
    return F.pad(x, around, mode="replicate")


@dataclass
class ResizeAfter:
    """A forward hook that aligns the layer's output and resizes it with the submodule `resize`, unless `native`."""

    start: Size = ()
    end: Size = ()
    native: bool = False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        if self.native:
            return out
        if any(self.start) or any(self.end):
            out = align(out, list(self.start), list(self.end))
        resized: Tensor = module.get_submodule("resize")(out)
        return resized


def resize_before(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A forward pre-hook that resizes the layer's first argument with the submodule `resize`."""
    if args:
        return (module.get_submodule("resize")(args[0]), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, {**kwargs, name: module.get_submodule("resize")(kwargs[name])}


@dataclass(frozen=True)
class Strided:
    """The original stride (per axis, in pixels) and attributes of a layer that was set to stride 1."""

    stride: Size
    attributes: dict[str, Any]


def set_native(layer: nn.Module, strided: Strided, *, native: bool) -> None:
    """Switch a layer between its own stride (`native`) and stride 1 with the resizer behind it."""
    for hook in layer._forward_hooks.values():
        if isinstance(hook, ResizeAfter):
            hook.native = native
    if not native:
        stride_one(layer)
        return
    for name, value in strided.attributes.items():
        setattr(layer, name, value)


class _Fitting(nn.modules.conv._ConvTransposeNd):
    """A transposed convolution with a resizer behind it: an `output_size` that it cannot give is the nearest it can."""

    def _output_padding(
        self,
        input: Tensor,
        output_size: list[int] | None,
        stride: list[int],
        padding: list[int],
        kernel_size: list[int],
        num_spatial_dims: int,
        dilation: list[int] | None = None,
    ) -> list[int]:
        if output_size is None:
            return list(self.output_padding)
        added: list[int] = []
        for i in range(num_spatial_dims):
            reach = (kernel_size[i] - 1) * (1 if dilation is None else dilation[i])
            least = (input.shape[i - num_spatial_dims] - 1) * stride[i] - 2 * padding[i] + reach + 1
            added.append(min(max(output_size[i - num_spatial_dims] - least, 0), stride[i] - 1))
        return added


class FittingConvTranspose1d(_Fitting, nn.ConvTranspose1d):
    """An `nn.ConvTranspose1d` that takes any `output_size`."""


class FittingConvTranspose2d(_Fitting, nn.ConvTranspose2d):
    """An `nn.ConvTranspose2d` that takes any `output_size`."""


class FittingConvTranspose3d(_Fitting, nn.ConvTranspose3d):
    """An `nn.ConvTranspose3d` that takes any `output_size`."""


def fit_output(layer: nn.Module) -> nn.Module:
    """Let a transposed convolution take any `output_size`, in place; other layers are left as they are."""
    kinds = (FittingConvTranspose1d, FittingConvTranspose2d, FittingConvTranspose3d)
    layer.__class__ = {kind.__bases__[1]: kind for kind in kinds}.get(type(layer), type(layer))
    return layer


_NATIVE = [getattr(nn, f"{name}{axes}d") for name in ("Conv", "MaxPool", "AvgPool", "LPPool") for axes in (1, 2, 3)]
# PyTorch's own layers are leaves to torch.fx, including their hooks; those of classes of this module are not.
_OPENED = {kind: type(f"Resized{kind.__name__}", (kind,), {"__module__": __name__}) for kind in _NATIVE}
globals().update({kind.__name__: kind for kind in _OPENED.values()})  # so that they can be pickled


def open_to_fx(layer: nn.Module) -> None:
    """Make torch.fx record the resize before or behind a layer, so that no graph pass fuses across it."""
    layer.__class__ = _OPENED.get(type(layer), type(layer))
