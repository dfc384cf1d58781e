"""Stride-1 forms of strided layers, and the hooks that resize before or behind a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.size_math import Size

__all__ = [
    "FittingConvTranspose2d",
    "ResizeAfter",
    "Strided",
    "WindowPool2d",
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
    setattr(module, "stride", 1 if isinstance(stride, int) else (1, 1))  # noqa: B010
    if getattr(module, "ceil_mode", False):
        setattr(module, "ceil_mode", False)  # noqa: B010
    return module


class WindowPool2d(nn.Module):
    """A max or average pool with given overlaps of the border: at stride 1 it has all windows of a strided pool.

    Args:
        reduce: "max" or "mean".
        kernel: (height, width) of a window in pixels.
        low: pixels (height, width) by which the first window extends over the border.
        high: the same for the last window at stride 1.
        dilation: dilation of the window ("max" only).
        counted: pixels beyond the border, (low, high) per axis, that count as zeros in a mean; pixels further out are
            ignored.
        divisor: divisor of the sum of a window, instead of the number of pixels counted.

    Shape: (N, C, H, W) -> (N, C, H + low + high - dilation * (kernel - 1), ...) as long as its `stride` is 1.
    """

    def __init__(
        self,
        reduce: Literal["max", "mean"],
        kernel: Size,
        *,
        low: Size = (0, 0),
        high: Size = (0, 0),
        dilation: Size = (1, 1),
        counted: tuple[Size, Size] = ((0, 0), (0, 0)),
        divisor: int | None = None,
    ) -> None:
        super().__init__()
        self.reduce = reduce
        self.kernel, self.dilation = kernel, dilation
        self.stride = (1, 1)
        self.low, self.high = low, high
        self.counted = counted
        self.divisor = divisor

    def forward(self, input: Tensor) -> Tensor:
        around = (self.low[1], self.high[1], self.low[0], self.high[0])
        if self.reduce == "max":
            return F.max_pool2d(F.pad(input, around, value=-float("inf")), self.kernel, self.stride, 0, self.dilation)
        sums = F.avg_pool2d(F.pad(input, around), self.kernel, self.stride, divisor_override=1)
        if self.divisor is not None:
            return sums / self.divisor
        (top, bottom), (left, right) = self.counted
        inside = (left, right, top, bottom)
        if inside == around:
            return sums / (self.kernel[0] * self.kernel[1])
        return sums / self._counts(input, inside, around)

    def _counts(self, x: Tensor, inside: tuple[int, int, int, int], around: tuple[int, int, int, int]) -> Tensor:
        ones = F.pad(x.new_ones((1, 1, x.shape[-2], x.shape[-1])), inside, value=1.0)
        rest = (around[0] - inside[0], around[1] - inside[1], around[2] - inside[2], around[3] - inside[3])
        counts = F.avg_pool2d(F.pad(ones, rest), self.kernel, self.stride, divisor_override=1)
        return counts if x.dim() == 4 else counts[0]

    def extra_repr(self) -> str:
        return f"{self.reduce!r}, kernel={self.kernel}, stride={self.stride}, low={self.low}, high={self.high}"


def align(x: Tensor, start: Size, end: Size) -> Tensor:
    """x without its first `start` pixels per axis, and padded by `end` pixels that repeat its last."""
    if start == end == (0, 0):
        return x
    return F.pad(x, (-start[1], end[1], -start[0], end[0]), mode="replicate")


@dataclass
class ResizeAfter:
    """A forward hook that aligns the layer's output and resizes it with the submodule `resize`, unless `native`."""

    start: Size = (0, 0)
    end: Size = (0, 0)
    native: bool = False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        if self.native:
            return out
        resized: Tensor = module.get_submodule("resize")(align(out, self.start, self.end))
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


class FittingConvTranspose2d(nn.ConvTranspose2d):
    """An `nn.ConvTranspose2d` with a resizer behind it: an `output_size` that it cannot give is the nearest it can."""

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
            return [self.output_padding[0], self.output_padding[1]]
        added: list[int] = []
        for i in range(num_spatial_dims):
            reach = (kernel_size[i] - 1) * (1 if dilation is None else dilation[i])
            least = (input.shape[i - num_spatial_dims] - 1) * stride[i] - 2 * padding[i] + reach + 1
            added.append(min(max(output_size[i - num_spatial_dims] - least, 0), stride[i] - 1))
        return added


def fit_output(layer: nn.Module) -> nn.Module:
    """Let a transposed convolution take any `output_size`, in place; other layers are left as they are."""
    if type(layer) is nn.ConvTranspose2d:
        layer.__class__ = FittingConvTranspose2d
    return layer


class ResizedConv2d(nn.Conv2d):
    """An `nn.Conv2d` whose hooks torch.fx records; PyTorch's own layers are leaves, including their hooks."""


class ResizedMaxPool2d(nn.MaxPool2d):
    """An `nn.MaxPool2d` whose hooks torch.fx records."""


class ResizedAvgPool2d(nn.AvgPool2d):
    """An `nn.AvgPool2d` whose hooks torch.fx records."""


class ResizedLPPool2d(nn.LPPool2d):
    """An `nn.LPPool2d` whose hooks torch.fx records."""


def open_to_fx(layer: nn.Module) -> None:
    """Make torch.fx record the resize before or behind a layer, so that no graph pass fuses across it."""
    kinds = (ResizedConv2d, ResizedMaxPool2d, ResizedAvgPool2d, ResizedLPPool2d)
    layer.__class__ = {kind.__base__: kind for kind in kinds}.get(type(layer), type(layer))
