"""What convolutions whose kernel size is learned have in common: N-Jet, FlexConv and your own.

Tracing, MACs, receptive fields, `constrain`, `parameter_groups`, `IMinTracker`, `GMACsLoss` and `freeze` know such
layers by this class alone. A layer runs one plain convolution with the *live kernel*: the pixels that its parameters
give.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.common.arguments import check_flags, check_whole, is_whole
from dynpool.size_math import Size, pair

from .grown_convolution import compiled_extent, grown_convolution, padding_of
from .host_values import has_values, read_values, write_values

__all__ = ["LearnedKernelConv2d", "constrain_kernels", "host_extents", "learned_kernels"]

Values = tuple[float, ...]

_HALF = (torch.float16, torch.bfloat16)


class LearnedKernelConv2d(nn.Module, ABC):
    """The base class of convolutions that learn how many pixels their kernel has, a drop-in for `nn.Conv2d`.

    Shape: (N, C_in, H, W) to (N, C_out, H_out, W_out), the sizes of `nn.Conv2d` with the given ``kernel_size``,
    ``stride`` and ``padding``, whatever the live kernel: the padding grows with it, so its centre stays where it is.

    The parameters are ``bias`` and what the kernel is made of. To write your own, derive from this class and define

    - ``__init__``: call this one, register the parameters, and set ``_seen`` to the initial values of those that
      determine the live kernel (:meth:`size_parameters`), as a flat tuple of floats;
    - :meth:`size_parameters`, :meth:`extent_at`, :meth:`kernel` and :meth:`learned_extent`;
    - :meth:`projected`, if these values have bounds, and :meth:`kernel_parameters`, if there are child modules.

    Args:
        in_channels, out_channels, stride, groups, bias: as for `nn.Conv2d`.
        kernel_size: odd (height, width) in pixels, or one number for both, of the plain convolution that this one
            stands in for. With ``padding`` it determines the size of the output; it does not limit the live kernel.
        padding: as for `nn.Conv2d`, "same" and "valid" included, for a kernel of ``kernel_size``.
        dilation: 1.
        padding_mode: "zeros".

    Raises:
        TypeError: if an argument is of a wrong type.
        ValueError: if one is out of range, such as an even kernel size, or groups that do not divide the channels.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Size = 3,
        stride: int | Size = 1,
        padding: int | Size | str = 0,
        dilation: int | Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        check_whole(1, in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_flags(bias=bias)
        if in_channels % groups or out_channels % groups:
            channels = f"in_channels={in_channels} and out_channels={out_channels}"
            raise ValueError(f"groups={groups}: expected a divisor of {channels}")
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode={padding_mode!r}: expected 'zeros'")
        if _pair("dilation", dilation, 1) != (1, 1):
            raise ValueError(f"dilation={dilation!r}: expected 1, as the learned size takes its place")
        designed = _pair("kernel_size", kernel_size, 1)
        if designed[0] % 2 == 0 or designed[1] % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size!r}: expected odd numbers, as a live kernel has a central pixel")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.stride: Any = _pair("stride", stride, 1)
        self.dilation, self.padding_mode = (1, 1), padding_mode
        around = _padding(padding, designed, self.stride)
        # pixels of padding beyond those that keep the size of the map, for any odd kernel
        self.margin: Size = pair(p - k // 2 for p, k in zip(around, designed, strict=True))
        self._seen: Values = ()  # the values of the size parameters when they were last read or written ...
        self._stamps: tuple[object, ...] | None = None  # ... and the stamps of these contents
        self._accepted: Values | None = None  # the last admissible values
        self._constrained = False
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)

    # -- to be defined by each kind --

    @abstractmethod
    def size_parameters(self) -> Sequence[nn.Parameter]:
        """The parameters that determine the live kernel's pixels; they get no weight decay."""

    @abstractmethod
    def extent_at(self, values: Values) -> Size:
        """(height, width) of the live kernel in pixels, odd numbers, when the size parameters hold ``values``."""

    @abstractmethod
    def kernel(self, extent: Size) -> Tensor:
        """The weights of a convolution with a kernel of ``extent``, (C_out, C_in / groups, *extent), differentiable.

        The central pixel lies at the centre. What lies beyond the live kernel is cut off or zero.
        """

    @abstractmethod
    def learned_extent(self) -> Tensor:
        """:meth:`extent_at` before it is rounded, as a tensor (2,) with a gradient to the size parameters."""

    def rounded_extent(self) -> Tensor:
        """:meth:`extent_at` of the present values as a tensor of two integers, for compiled graphs."""
        return 2 * torch.ceil((self.learned_extent().detach() - 2) / 2).long() + 1

    def projected(self, values: Values, previous: Values) -> Values:
        """The admissible values nearest to ``values`` (possibly NaN or infinite) after a step from ``previous``."""
        return tuple(v if math.isfinite(v) else p for v, p in zip(values, previous, strict=True))

    @property
    def factor(self) -> float:
        """The factor, beyond its stride, by which the layer makes its map smaller as its size parameters ask for."""
        return 1.0

    # -- the same for all --

    @property
    def extent(self) -> Size:
        """(height, width) of the live kernel in pixels."""
        return host_extents([self])[0]

    @property
    def values(self) -> Values:
        """The values of the size parameters on the host."""
        return _host_values([self])[0]

    @property
    def weight(self) -> Tensor:
        """The live kernel, (C_out, C_in / groups, height, width), differentiable; not a parameter."""
        extent = self.extent
        parts = self.kernel_parameters()
        if not parts[0].is_meta:
            return self.kernel(extent)
        # Without values there are only shapes. How the kernel is computed is no part of the layer's convolution.
        together = torch.cat([part.reshape(-1) for part in parts])
        return together.new_empty(self.out_channels, self.in_channels // self.groups, *extent)

    def kernel_parameters(self) -> list[Tensor]:
        """All parameters that the kernel is made of: by default this module's own, except the bias."""
        return [parameter for name, parameter in self.named_parameters(recurse=False) if name != "bias"]

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x, (N, C_in, H, W), with the live kernel."""
        compiling = torch.compiler.is_compiling()
        weight = self.kernel(compiled_extent(self.rounded_extent())) if compiling else self.weight
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return self.convolve(x, weight.to(x.dtype), bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of x with the given kernel; to be overridden by kinds that compute it in another way."""
        return grown_convolution(x, weight, bias, self.stride, self.margin, self.groups)

    @torch.no_grad()
    def frozen(self) -> nn.Module:
        """A plain module with the live kernel that computes the same: an `nn.Conv2d` of the same dtype and device."""
        weight, extent = self.weight, self.extent
        least = pair(max(k, 1 - 2 * m) for k, m in zip(extent, self.margin, strict=True))  # nn.Conv2d cuts nothing off
        h, w = ((n - k) // 2 for n, k in zip(least, extent, strict=True))
        weight = F.pad(weight, (w, w, h, h))
        plain = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            least,
            self.stride,
            pair(padding_of(least, self.margin)),
            groups=self.groups,
            bias=self.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        plain.weight.copy_(weight)
        if plain.bias is not None and self.bias is not None:
            plain.bias.copy_(self.bias)
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """Channels, the live kernel and the settings, as shown by print."""
        size = "x".join(map(str, self.extent))
        groups = f", groups={self.groups}" if self.groups > 1 else ""
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_channels}, {self.out_channels}, kernel {size}, stride={self.stride}{groups}{bias}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply `fn`, but keep the dtype of the size parameters: half precision is too coarse for their steps."""
        mine = {id(parameter) for parameter in self.size_parameters()}

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            too_coarse = id(tensor) in mine and moved.dtype in _HALF
            return tensor.to(moved.device) if too_coarse else moved

        super()._apply(keep_dtype, recurse)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stamps": None}  # a copy has its own parameters


def learned_kernels(model: nn.Module) -> dict[str, LearnedKernelConv2d]:
    """All convolutions of a model that learn their kernel size, by module path."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LearnedKernelConv2d)}


# ----------------------------------------------------------------------------------- between the device and the host


def host_extents(layers: Sequence[LearnedKernelConv2d]) -> list[Size]:
    """The live kernels' (height, width) in pixels; what may have changed is read from the device in one copy."""
    return [layer.extent_at(values) for layer, values in zip(layers, _host_values(layers), strict=True)]


def constrain_kernels(layers: Sequence[LearnedKernelConv2d]) -> bool:
    """Bring the size parameters back to admissible values; to be called after each step.

    One device-to-host copy for all layers; only what changes is written back.

    Returns:
        whether any live kernel has another size than at the last call.
    """
    for layer in layers:
        layer._constrained, layer._stamps = True, None  # fused optimisers write without leaving a mark
    before = [layer._accepted or layer._seen for layer in layers]
    changed = False
    for layer, values, previous in zip(layers, _host_values(layers), before, strict=True):
        admissible = layer.projected(values, previous)
        changed |= layer.extent_at(admissible) != layer.extent_at(previous)
        if admissible != values:
            parameters = layer.size_parameters()
            for parameter, part in zip(parameters, _split(admissible, parameters), strict=True):
                write_values(parameter.view(-1), part)
            layer._seen = admissible
            layer._stamps = tuple(map(_stamp, parameters))
        layer._accepted = admissible
    return changed


def _host_values(layers: Sequence[LearnedKernelConv2d]) -> list[Values]:
    stale = [layer for layer in layers if _may_have_changed(layer)]
    flat = [parameter.reshape(-1) for layer in stale for parameter in layer.size_parameters()]
    found = {id(layer): layer._seen for layer in layers}
    numbers = iter(read_values(flat))
    for layer in stale:
        parameters = layer.size_parameters()
        values = tuple(number for _ in parameters for number in next(numbers))
        found[id(layer)] = values
        if all(isinstance(parameter, nn.Parameter) for parameter in parameters):  # else torch.func has put others there
            layer._seen, layer._stamps = values, tuple(map(_stamp, parameters))
    return [found[id(layer)] for layer in layers]


def _may_have_changed(layer: LearnedKernelConv2d) -> bool:
    """Whether the size parameters must be read: on a CPU always, elsewhere if their stamps have changed."""
    parameters = layer.size_parameters()
    if not all(map(has_values, parameters)):
        return False
    unknown = layer._stamps is None or None in layer._stamps
    if unknown or any(parameter.device.type == "cpu" for parameter in parameters):
        return True
    return layer._stamps != tuple(map(_stamp, parameters)) or (torch.is_grad_enabled() and not layer._constrained)


def _stamp(parameter: Tensor) -> object:
    if parameter.is_inference() or not isinstance(parameter, nn.Parameter) or type(parameter.data) is not Tensor:
        return None
    return id(parameter), parameter.data_ptr(), parameter._version


def _split(values: Values, parameters: Sequence[nn.Parameter]) -> list[Values]:
    parts, start = [], 0
    for parameter in parameters:
        parts.append(values[start : start + parameter.numel()])
        start += parameter.numel()
    return parts


# ------------------------------------------------------------------------------------------------ windows and padding


def _pair(name: str, value: object, lowest: int) -> Size:
    numbers = (value, value) if is_whole(value) else value
    if not isinstance(numbers, (tuple, list)) or len(numbers) != 2 or not all(map(is_whole, numbers)):
        raise TypeError(f"{name}={value!r}: expected one or two (height, width) integers of at least {lowest}")
    if min(numbers) < lowest:
        raise ValueError(f"{name}={value!r}: expected one or two (height, width) integers of at least {lowest}")
    return int(numbers[0]), int(numbers[1])


def _padding(padding: int | Size | str, kernel: Size, stride: Size) -> Size:
    if not isinstance(padding, str):
        return _pair("padding", padding, 0)
    if padding not in ("same", "valid") or (padding == "same" and stride != (1, 1)):
        raise ValueError(f"padding={padding!r}: expected integers, 'valid', or at stride 1 'same'")
    return pair(k // 2 for k in kernel) if padding == "same" else (0, 0)
