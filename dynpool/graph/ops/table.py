"""The primitive of each ATen operation, made from its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .. import primitives as kinds
from . import computed, moved
from .operation import Describe

__all__ = ["DESCRIPTIONS"]


def _aten(names: str, description: Describe) -> dict[str, Describe]:
    return {f"aten.{name}": description for name in names.split()}


_OPS: dict[str, Describe] = {
    **_aten(
        "hardswish hardsigmoid hardtanh leaky_relu elu celu selu mish softplus threshold _prelu_kernel",
        computed.elementwise,
    ),
    **_aten("where masked_fill clamp maximum minimum lerp rrelu_with_noise bernoulli", computed.elementwise),
    **_aten(
        "clone contiguous _to_copy to detach alias lift_fresh native_dropout dropout conj resolve_conj", computed.same
    ),
    **_aten("tril triu real imag", computed.same),
    **_aten("expand expand_copy", lambda op: kinds.Broadcast(op.x)),
    **_aten("zeros_like ones_like empty_like full_like rand_like randn_like zero fill normal uniform", computed.like),
    **_aten("random", computed.like),
    **_aten(
        "new_zeros new_ones new_empty new_full new_empty_strided arange _assert_async sym_size", lambda op: kinds.Make()
    ),
    **_aten("_softmax _log_softmax _safe_softmax", lambda op: kinds.Normalize(op.x, op.dims())),
    **_aten("native_layer_norm _fused_rms_norm", computed.layer_norm),
    **_aten("native_group_norm", computed.group_norm),
    **_aten("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", computed.batch_norm),
    **_aten("cudnn_batch_norm _batch_norm_with_update", computed.batch_norm),
    **_aten(
        "view _unsafe_view reshape _reshape_alias flatten view_as_real view_as_complex", lambda op: kinds.View(op.x)
    ),
    **_aten("as_strided", moved.as_strided),
    **_aten("permute", lambda op: kinds.Permute(op.x, op.dims("dims"))),
    **_aten("transpose t", moved.transpose),
    **_aten("unsqueeze", moved.unsqueeze),
    **_aten("squeeze", moved.squeeze),
    **_aten("slice", moved.slice_),
    **_aten("select", moved.select),
    **_aten("unbind", moved.unbind),
    **_aten("split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unsafe_chunk", moved.split),
    **_aten("roll", moved.roll),
    **_aten("flip", moved.flip),
    **_aten("repeat", lambda op: kinds.Repeat(op.x, tuple(op["repeats"]))),
    **_aten("constant_pad_nd", moved.pad("constant")),
    **_aten("reflection_pad1d reflection_pad2d reflection_pad3d", moved.pad("reflect")),
    **_aten("replication_pad1d replication_pad2d replication_pad3d", moved.pad("edge")),
    **_aten("cat", moved.cat),
    **_aten("stack", moved.stack),
    **_aten("diagonal", lambda op: kinds.Diagonal(op.x, op["offset"], (op.dim("dim1"), op.dim("dim2")))),
    **_aten("pixel_shuffle", moved.pixel_shuffle),
    **_aten("pixel_unshuffle", moved.pixel_unshuffle),
    **_aten("channel_shuffle native_channel_shuffle", moved.channel_shuffle),
    **_aten("unfold", lambda op: kinds.Unfold(op.x, op.dim("dimension"), op["size"], op["step"])),
    **_aten("im2col", moved.patches(kinds.Patches)),
    **_aten("col2im", moved.patches(kinds.Fold)),
    **_aten("convolution _convolution", computed.convolution),
    **{f"aten.max_pool{n}d{also}": computed.pool(n) for n in (1, 2, 3) for also in ("", "_with_indices")},
    **{f"aten.max_unpool{n}d": computed.unpool(n) for n in (2, 3)},
    **{f"aten.avg_pool{n}d": computed.pool(n) for n in (1, 2, 3)},
    **{
        f"aten.{kind}{n}d": computed.adaptive_pool(n)
        for n in (1, 2, 3)
        for kind in ("_adaptive_avg_pool", "adaptive_avg_pool")
    },
    **{f"aten.adaptive_max_pool{n}d": computed.adaptive_pool(n) for n in (1, 2, 3)},
    **{f"aten.fractional_max_pool{n}d": computed.fractional_pool(n) for n in (2, 3)},
    **{f"aten.upsample_nearest{n}d": computed.upsample(n, "nearest") for n in (1, 2, 3)},
    **{f"aten._upsample_nearest_exact{n}d": computed.upsample(n, "nearest-exact") for n in (1, 2, 3)},
    **_aten("upsample_linear1d", computed.upsample(1, "linear")),
    **_aten("upsample_bilinear2d", computed.upsample(2, "linear")),
    **_aten("upsample_trilinear3d", computed.upsample(3, "linear")),
    **_aten("upsample_bicubic2d", computed.upsample(2, "cubic")),
    **_aten("_upsample_bilinear2d_aa", computed.upsample(2, "linear-antialiased")),
    **_aten("_upsample_bicubic2d_aa", computed.upsample(2, "cubic-antialiased")),
    "dynpool.dynopool2d": lambda op: kinds.Resample(op["x"], 2, op["reduce"]),
    "dynpool.dynopool3d": lambda op: kinds.Resample(op["x"], 3, op["reduce"]),
    "dynpool.resizer": lambda op: kinds.Resizer(op.inputs),  # a whole resizer module, contracted by the tracer
    **_aten(
        "mean sum amax amin max min prod any all var std var_mean std_mean logsumexp argmax argmin", computed.reduce
    ),
    **_aten("median nanmedian nansum nanmean aminmax linalg_vector_norm norm", computed.reduce),
    **_aten("sort argsort topk _fft_c2c _fft_r2c _fft_c2r", computed.reduce),
    **_aten("cumsum cumprod logcumsumexp", lambda op: kinds.Scan(op.x, op.dim())),
    **_aten("lstm gru rnn_tanh rnn_relu", computed.recurrent),
    **_aten("mm addmm bmm baddbmm mv dot", computed.product),
    **_aten(
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math "
        "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
        "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable",
        computed.attention,
    ),
    **_aten("index _unsafe_index", lambda op: kinds.Index(op.x, tuple(op["indices"]))),
    **_aten("index_select", lambda op: kinds.Index(op.x, (*[None] * op.dim(), op["index"]))),
    **_aten("embedding", lambda op: kinds.Index(op["weight"], (op["indices"],))),
    **_aten("gather", lambda op: kinds.Gather(op.x, op.dim(), op["index"])),
    **_aten("grid_sampler_2d grid_sampler_3d", lambda op: kinds.GridSample(op["input"], op["grid"])),
    **_aten("copy", computed.copy),
    **_aten("index_put _unsafe_index_put", computed.index_put),
    **_aten("index_copy", computed.write_along("source")),
    **_aten("index_fill", computed.write_along("value")),
    **_aten("index_add", computed.write_along("source", kept=True)),
    **_aten(
        "scatter scatter_add scatter_reduce masked_scatter _unsafe_masked_index_put_accumulate",
        lambda op: kinds.Write(op.x, None, anywhere=True),
    ),
    **_aten("nonzero masked_select _unique2", computed.opaque),
    # which pixels these read follows from the image
    **{
        f"torchvision.{name}": computed.opaque
        for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")
    },
    "torchvision.deform_conv2d": computed.opaque,
    **_aten("affine_grid_generator", lambda op: kinds.Opaque(described=False, made=True)),
}


DESCRIPTIONS: Mapping[str, Describe] = MappingProxyType(_OPS)
