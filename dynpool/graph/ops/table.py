"""What each ATen operation is, said once: its primitive, made of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .. import primitives as kinds
from . import combined, correspond, indexed, moved
from .operation import Describe

__all__ = ["DESCRIPTIONS"]


def _aten(names: str, description: Describe) -> dict[str, Describe]:
    return {f"aten.{name}": description for name in names.split()}


_OPS = {
    **_aten(
        "hardswish hardsigmoid hardtanh leaky_relu elu celu selu mish softplus threshold _prelu_kernel",
        correspond.elementwise,
    ),
    **_aten("where masked_fill clamp maximum minimum lerp rrelu_with_noise bernoulli", correspond.elementwise),
    **_aten(
        "clone contiguous _to_copy to detach alias lift_fresh native_dropout dropout conj resolve_conj", correspond.same
    ),
    **_aten("tril triu real imag", correspond.same),
    **_aten("expand expand_copy", lambda op: kinds.Broadcast(op.x)),
    **_aten("zeros_like ones_like empty_like full_like rand_like randn_like zero fill normal uniform", correspond.like),
    **_aten("random trunc_normal", correspond.like),
    **_aten("new_zeros new_ones new_empty new_full new_empty_strided arange _assert_async sym_size", correspond.made),
    **_aten("_softmax _log_softmax _safe_softmax", correspond.softmax),
    **_aten("native_layer_norm _fused_rms_norm", correspond.layer_norm),
    **_aten("native_group_norm", correspond.group_norm),
    **_aten("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", correspond.batch_norm),
    **_aten("cudnn_batch_norm _batch_norm_with_update", correspond.batch_norm),
    **_aten("view _unsafe_view reshape _reshape_alias flatten view_as_real view_as_complex", moved.view),
    **_aten("as_strided", moved.as_strided),
    **_aten("permute", moved.permute),
    **_aten("transpose t", moved.transpose),
    **_aten("unsqueeze", moved.unsqueeze),
    **_aten("squeeze", moved.squeeze),
    **_aten("slice", moved.slice_),
    **_aten("select", moved.select),
    **_aten("unbind", moved.unbind),
    **_aten("split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unsafe_chunk", moved.split),
    **_aten("roll", moved.roll),
    **_aten("flip", moved.flip),
    **_aten("repeat", moved.repeat),
    **_aten("constant_pad_nd", moved.pad("constant")),
    **_aten("reflection_pad1d reflection_pad2d reflection_pad3d", moved.pad("reflect")),
    **_aten("replication_pad1d replication_pad2d replication_pad3d", moved.pad("edge")),
    **_aten("cat", moved.cat),
    **_aten("stack", moved.stack),
    **_aten("diagonal", moved.diagonal),
    **_aten("pixel_shuffle", moved.pixel_shuffle),
    **_aten("pixel_unshuffle", moved.pixel_unshuffle),
    **_aten("channel_shuffle native_channel_shuffle", moved.channel_shuffle),
    **_aten("unfold", moved.unfold),
    **_aten("im2col", moved.patches(kinds.Patches)),
    **_aten("col2im", moved.patches(kinds.Fold)),
    **_aten("convolution _convolution", combined.convolution),
    **{f"aten.max_pool{n}d{also}": combined.pool(n) for n in (1, 2, 3) for also in ("", "_with_indices")},
    **{f"aten.avg_pool{n}d": combined.pool(n) for n in (1, 2, 3)},
    **{
        f"aten.{kind}{n}d": combined.adaptive_pool(n)
        for n in (1, 2, 3)
        for kind in ("_adaptive_avg_pool", "adaptive_avg_pool")
    },
    **{f"aten.adaptive_max_pool{n}d": combined.adaptive_pool(n) for n in (1, 2, 3)},
    **{f"aten.fractional_max_pool{n}d": combined.fractional_pool(n) for n in (2, 3)},
    **{f"aten.upsample_nearest{n}d": combined.upsample(n, "nearest") for n in (1, 2, 3)},
    **{f"aten._upsample_nearest_exact{n}d": combined.upsample(n, "nearest-exact") for n in (1, 2, 3)},
    **_aten("upsample_linear1d", combined.upsample(1, "linear")),
    **_aten("upsample_bilinear2d", combined.upsample(2, "linear")),
    **_aten("upsample_trilinear3d", combined.upsample(3, "linear")),
    **_aten("upsample_bicubic2d", combined.upsample(2, "cubic")),
    **_aten("_upsample_bilinear2d_aa", combined.upsample(2, "linear-antialiased")),
    **_aten("_upsample_bicubic2d_aa", combined.upsample(2, "cubic-antialiased")),
    "dynpool.dynopool2d": combined.dynopool,
    "dynpool.resizer": combined.resizer,  # a whole resizer module, contracted by the tracer
    **_aten(
        "mean sum amax amin max min prod any all var std var_mean std_mean logsumexp argmax argmin", combined.reduce
    ),
    **_aten("median nanmedian nansum nanmean aminmax linalg_vector_norm norm", combined.reduce),
    **_aten("sort argsort topk _fft_c2c _fft_r2c _fft_c2r", combined.reduce),
    **_aten("cumsum cumprod logcumsumexp", combined.scan),
    **_aten("lstm gru rnn_tanh rnn_relu", combined.recurrent),
    **_aten("mm addmm bmm baddbmm mv dot", combined.product),
    **_aten(
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math "
        "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
        "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable",
        combined.attention,
    ),
    **_aten("index _unsafe_index", indexed.index),
    **_aten("index_select", indexed.index_select),
    **_aten("embedding", indexed.embedding),
    **_aten("gather", indexed.gather),
    **_aten("grid_sampler_2d grid_sampler_3d", indexed.grid_sample),
    **_aten("copy", indexed.copy),
    **_aten("index_put _unsafe_index_put", indexed.index_put),
    **_aten("index_copy", indexed.write_along("source")),
    **_aten("index_fill", indexed.write_along("value")),
    **_aten("index_add", indexed.write_along("source", kept=True)),
    **_aten(
        "scatter scatter_add scatter_reduce masked_scatter _unsafe_masked_index_put_accumulate", indexed.write_anywhere
    ),
    **_aten("nonzero masked_select _unique2", indexed.opaque),
    # which pixels these read follows from the image
    **{
        f"torchvision.{name}": indexed.opaque
        for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")
    },
    "torchvision.deform_conv2d": indexed.opaque,
    **_aten("affine_grid_generator", lambda op: kinds.Opaque(described=False, made=True)),
}


DESCRIPTIONS: Mapping[str, Describe] = MappingProxyType(_OPS)
