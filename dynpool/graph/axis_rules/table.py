"""The rule of each ATen operation: which axes its outputs have, which must agree, which are pinned, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import compute, views, windows
from .context import Context, Rule

if TYPE_CHECKING:
    from dynpool.graph.ir import Graph, Node

__all__ = ["annotate"]


def _ops(names: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


_RULES: dict[str, Rule] = {
    "dynpool.dynopool2d": windows.dynopool,
    "dynpool.resizer": windows.dynopool,  # a whole resizer module, contracted by the tracer
    **_ops("convolution _convolution", windows.convolution),
    **_ops("max_pool2d_with_indices max_pool2d", windows.max_pool),
    **_ops("avg_pool2d", windows.avg_pool),
    **_ops("_adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d", windows.adaptive_pool),
    **_ops("upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d", windows.upsample),
    **_ops("_upsample_bilinear2d_aa _upsample_bicubic2d_aa", windows.upsample),
    **_ops("pixel_shuffle pixel_unshuffle", windows.shuffle),
    **_ops("im2col", windows.unfold),
    **_ops("col2im", windows.fold),
    **_ops("grid_sampler_2d", windows.grid_sample),
    **_ops("hardswish hardsigmoid hardtanh leaky_relu elu celu selu mish softplus threshold", compute.pointwise),
    **_ops("_prelu_kernel where masked_fill clamp maximum minimum", compute.pointwise),
    **_ops("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", compute.normalized),
    **_ops("cudnn_batch_norm _batch_norm_with_update native_group_norm native_layer_norm", compute.normalized),
    **_ops("_softmax _log_softmax _safe_softmax clone contiguous _to_copy detach alias copy", compute.same),
    **_ops("native_dropout lift_fresh bernoulli_ zero_ fill_ _unsafe_masked_index_put_accumulate", compute.same),
    **_ops("copy_", compute.pointwise),  # what is written into a part of a map must fit it
    **_ops("roll flip cumsum sort tril triu channel_shuffle zeros_like ones_like empty_like full_like", compute.same),
    **_ops("rand_like randn_like scatter index_put bernoulli normal_ uniform_ random_ trunc_normal_", compute.same),
    **_ops("mean sum amax amin max min prod any all var std var_mean std_mean logsumexp argmax", compute.reduce),
    **_ops("linalg_vector_norm norm", compute.reduce_norm),
    **_ops("topk", compute.partly),
    **_ops("_fft_c2c _fft_r2c _fft_c2r view_as_real view_as_complex real imag", compute.transform),
    **_ops("new_zeros new_ones new_empty new_full new_empty_strided affine_grid_generator", compute.factory),
    **_ops("mm addmm bmm baddbmm", compute.matmul),
    **_ops("lstm gru rnn_tanh rnn_relu", compute.recurrent),
    **_ops("index", compute.index),
    **_ops("gather", compute.gather),
    **_ops("embedding", compute.embedding),
    **_ops("view _unsafe_view reshape _reshape_alias flatten", views.view),
    **_ops("permute transpose t", views.permute),
    **_ops("expand", views.expand),
    **_ops("repeat", views.repeat),
    **_ops("unsqueeze", views.unsqueeze),
    **_ops("squeeze", views.squeeze),
    **_ops("select", views.select),
    **_ops("unbind", views.unbind),
    **_ops("slice", views.slice_),
    **_ops("constant_pad_nd reflection_pad2d replication_pad2d", views.pad),
    **_ops("split split_with_sizes", views.split),
    **_ops("cat", views.cat),
    **_ops("stack", views.stack),
    **_ops("unfold", views.tensor_unfold),
}


def annotate(graph: Graph, node: Node, others: Sequence[tuple[int, ...]] | None = None) -> None:
    """Give the outputs of `node` their dimensions, uniting and pinning axis classes as its operation demands.

    `others` are the shapes of its outputs in the second trace.
    """
    if not node.outputs:
        return
    c = Context(graph, node, others)
    rule = _RULES.get(node.op) or _RULES.get(node.op.removesuffix("_"))
    if not node.inputs:
        rule = compute.factory
    elif rule is None:
        rule = compute.pointwise if node.pointwise else compute.unknown
    dims = rule(c)
    for k, vid in enumerate(node.outputs):
        value = graph.values[vid]
        if value.dims:
            continue
        right = tuple(d.size for d in dims) == value.shape
        value.dims = dims if right else c.all_unrelated(k)
