"""What the layers of PyTorch and timm become: their stride-1 forms and a resize instead of, behind or before them."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from torch import nn

from dynpool.resizers import LearnedKernelConv2d, Reduce
from dynpool.resolution import WindowPool, fit_output, stride_one
from dynpool.size_math import Size

from .registry import Plan, Site, register_kind

__all__ = ["plan_convolution"]

# --- convolutions -----------------------------------------------------------------------------------------------------


@register_kind(nn.Conv1d, nn.Conv2d, nn.Conv3d, LearnedKernelConv2d)
def plan_convolution(module: nn.Module, site: Site) -> Plan | str:
    """How a convolution that pads by fixed numbers of pixels is rewritten."""
    pads = any(map(any, site.pad)) and getattr(module, "padding_mode", "zeros") == "zeros"
    return _planned(site, "unknown" if pads else "fixed")


@register_kind("timm.layers.conv2d_same.Conv2dSame")
def _plan_same_convolution(module: nn.Conv2d, site: Site) -> Plan | str:
    return _planned(site, "same")


@register_kind("timm.layers.std_conv.StdConv2dSame", "timm.layers.std_conv.ScaledStdConv2dSame")
def _plan_standardized_convolution(module: Any, site: Site) -> Plan | str:
    return _planned(site, "same" if module.same_pad else "fixed")


@register_kind("timm.layers.cond_conv2d.CondConv2d")
def _plan_conditional_convolution(module: Any, site: Site) -> Plan | str:
    return _planned(site, "same" if module.dynamic_padding else "fixed")


@register_kind(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def _plan_transposed_convolution(module: nn.Module, site: Site) -> Plan | str:
    # it keeps its stride; where it leads to a resolution that moves, its map follows
    return Plan("after", "mean", fit_output)


def _planned(site: Site, padding: Literal["fixed", "same", "unknown"]) -> Plan:
    if site.cuts_patches:  # patches keep their stride, so that their work does not grow by kernel**2
        return site.keep_stride() if site.preserve else Plan("before", "max", multiple=site.resize.stride)
    if padding == "unknown" or (site.preserve and padding == "same" and not site.pads_same):
        return site.keep_stride("sample" if site.preserve else "max")
    if not site.preserve:
        return _stride_one_layer(site, "max", grows=(0,) * site.resize.axes if padding == "same" else site.grows)
    if padding == "fixed":
        return site.sample(stride_one, site.stride_one_size)
    # at stride 1, SAME pads more in front, and all taps shift by the difference
    start = tuple(reach // 2 - low for reach, low in zip(site.reach, site.low, strict=True))
    return site.sample(stride_one, site.in_size, start)


def _stride_one_layer(site: Site, reduce: Reduce, grows: Size) -> Plan:
    if site.order == "before":
        return Plan("before", reduce, stride_one, offset=tuple(-n for n in grows))
    return Plan("after", reduce, stride_one)


@register_kind("timm.layers.blur_pool.BlurPool2d")
def _plan_blur(module: Any, site: Site) -> Plan | str:
    if site.preserve:
        return site.sample(stride_one, site.stride_one_size)
    return _stride_one_layer(site, "mean", site.grows)


# --- pools ------------------------------------------------------------------------------------------------------------


@register_kind(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
def _plan_max_pool(module: Any, site: Site) -> Plan | str:
    if module.return_indices:
        return "its indices are used"
    if not site.preserve or _is_resizer(site):
        return Plan("instead", "max")
    return _sampled_pool(site, "max")


@register_kind(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
def _plan_avg_pool(module: Any, site: Site) -> Plan | str:
    divisor = getattr(module, "divisor_override", None)  # which nn.AvgPool1d does not have
    if not site.preserve or (_is_resizer(site) and divisor is None):
        return Plan("instead", "mean")
    zeros = site.resize.padding if module.count_include_pad else (0,) * site.resize.axes
    counted = tuple((a + p, b + p) for p, (a, b) in zip(zeros, site.pad, strict=True))
    return _sampled_pool(site, "mean", counted=counted, divisor=divisor)


@register_kind(nn.LPPool1d, nn.LPPool2d, nn.LPPool3d)
def _plan_lp_pool(module: Any, site: Site) -> Plan | str:
    if site.preserve:
        return site.keep_stride()
    if module.ceil_mode or site.order == "before":
        return site.keep_stride("mean")
    return Plan("after", "mean", stride_one)


@register_kind(nn.Upsample)
def _plan_upsampling(module: nn.Upsample, site: Site) -> Plan | str:
    if site.resize.scale is None:
        return "its output size is given"
    return Plan("instead", "mean")  # as a follower it interpolates in its own mode


def _is_resizer(site: Site) -> bool:
    """Whether the resize at alpha = 2 is this pool: windows of 2 pixels side by side on even sizes."""
    r = site.resize
    return site.cuts_patches and set(r.kernel) == {2} and set(r.dilation) == {1} and site.windows == site.in_size


def _sampled_pool(site: Site, reduce: Literal["max", "mean"], **how: Any) -> Plan:
    """The pool at stride 1, sampled. Its windows reach over the border as far as they still hold a pixel."""
    r = site.resize
    last = tuple((n - 1) * s + 1 for n, s in zip(r.out_size, r.stride, strict=True))  # the last window that is read
    full = tuple(min(m, n + p) for m, n, p in zip(site.windows, site.in_size, site.low, strict=True))
    maps = tuple(map(max, last, full))
    high = tuple(m + d - n - p for m, d, n, p in zip(maps, site.reach, site.in_size, site.low, strict=True))
    how = {"low": site.low, "high": high, "dilation": r.dilation, **how}
    return site.sample(partial(_window_pool, reduce, r.kernel, how), maps)


def _window_pool(reduce: Literal["max", "mean"], kernel: Size, how: dict[str, Any], module: nn.Module) -> nn.Module:
    return WindowPool(reduce, kernel, **how)
