"""What a resizer becomes: its stride-1 form and a learned resize instead of it, behind it or before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from .axes import Resize
from .functional import Reduce

__all__ = ["Plan", "Planner", "planner_of", "resize_after", "resize_before", "resizer_kinds", "stride_one"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """How one module is rewritten: `place` the resize in its stead, behind it or before it."""

    place: Literal["instead", "after", "before"]
    reduce: Reduce
    stride_one: bool = True
    multiple: Pair = (1, 1)  # the resized map is so many times larger than the module's output
    offset: Pair = (0, 0)


Planner = Callable[[Any, Resize, str, bool], Plan | str]


def _plan_convolution(module: nn.Conv2d, resize: Resize, order: str, preserve: bool) -> Plan | str:
    reduce: Reduce = "sample" if preserve else "max"
    if module.transposed:
        return "a transposed convolution"
    if resize.kernel == resize.stride and resize.padding == (0, 0) and max(resize.kernel) > 1:
        # patches keep their stride, so that their work does not grow by kernel**2
        return Plan("before", reduce, stride_one=False, multiple=resize.stride)
    if preserve and (_pads_itself(module, resize) or _stride_one_offset(module, resize) != (0, 0)):
        return "its stride-1 form has another size or padding, so its function cannot be kept"
    if order == "before" and not preserve:
        shrink = _stride_one_offset(module, resize)
        return Plan("before", reduce, offset=(-shrink[0], -shrink[1]))
    return Plan("after", reduce)


def _stride_one_offset(module: nn.Conv2d, resize: Resize) -> Pair:
    """Pixels by which the output of the convolution at stride 1 is larger than its input."""
    if _pads_itself(module, resize):
        return (0, 0)
    h, w = (2 * p - d * (k - 1) for p, d, k in zip(resize.padding, resize.dilation, resize.kernel, strict=True))
    return (h, w)


def _pads_itself(module: nn.Conv2d, resize: Resize) -> bool:
    """Whether the module pads its input according to its size (TensorFlow's SAME), before the convolution proper."""
    return type(module).forward is not nn.Conv2d.forward and resize.padding == (0, 0) and max(resize.kernel) > 1


def _plan_max_pool(module: nn.MaxPool2d, resize: Resize, order: str, preserve: bool) -> Plan | str:
    if module.return_indices:
        return "its indices are used"
    return _plan_pool(resize, "max", preserve)


def _plan_avg_pool(module: nn.AvgPool2d, resize: Resize, order: str, preserve: bool) -> Plan | str:
    return _plan_pool(resize, "mean", preserve)


def _plan_pool(resize: Resize, reduce: Reduce, preserve: bool) -> Plan | str:
    if not preserve or resize.kernel == resize.stride == (2, 2):
        return Plan("instead", reduce)  # at alpha = 2 on even sizes, the resizer is the 2x2 pool
    if any(2 * p != d * (k - 1) for p, d, k in zip(resize.padding, resize.dilation, resize.kernel, strict=True)):
        return "its stride-1 form has another size, so its function cannot be kept"
    return Plan("after", "sample")


def _plan_upsampling(module: nn.Upsample, resize: Resize, order: str, preserve: bool) -> Plan | str:
    if resize.scale is None:
        return "its output size is given"
    return Plan("instead", "mean")  # as a follower it interpolates in its own mode


_KINDS: dict[type[nn.Module], Planner] = {
    nn.Upsample: _plan_upsampling,
    nn.Conv2d: _plan_convolution,
    nn.MaxPool2d: _plan_max_pool,
    nn.AvgPool2d: _plan_avg_pool,
}


def resizer_kinds() -> tuple[type[nn.Module], ...]:
    """Module types (with their subclasses) that `convert` can make learnable."""
    return tuple(_KINDS)


def planner_of(module: nn.Module) -> Planner | None:
    return next((plan for kind, plan in _KINDS.items() if isinstance(module, kind)), None)


def resize_after(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    """Forward hook of a layer whose resize stands behind it."""
    resized: Tensor = module.get_submodule("resize")(out)
    return resized


def resize_before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook of a layer whose resize stands before it."""
    return (module.get_submodule("resize")(args[0]), *args[1:])


def stride_one(module: nn.Module) -> None:
    stride = getattr(module, "stride")  # noqa: B009 - a Tensor or Module to the type checker otherwise
    setattr(module, "stride", 1 if isinstance(stride, int) else (1, 1))  # noqa: B010
    if getattr(module, "ceil_mode", False):
        setattr(module, "ceil_mode", False)  # noqa: B010
