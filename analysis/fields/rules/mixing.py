"""Rules of the operations by which positions see each other: reductions, products, normalisation, attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynpool.graph.ir import ValueRef

from ..positions import Field, Term
from ..propagate import Call, Rule
from .moves import unsqueezed, without

__all__ = ["MIX_RULES", "pointwise"]


def pointwise(c: Call) -> Field:
    """Positions that correspond meet; what is broadcast is at all of them."""
    fields = c.fields()
    rank = len(c.out_shape)
    first = fields[0]
    refs = [v for v in c.node.inputs if v in c.walk.fields]
    if all(f is first for f in fields) and len(c.walk.graph.values[refs[0]].shape) == rank:
        return first
    return c.domain.join([t.of_rank(rank) for f in fields for t in c.domain.whole(f).terms])


def _dims(value: Any, rank: int) -> list[int]:
    if value is None or value == []:
        return list(range(rank))
    return [d % rank for d in ([value] if isinstance(value, int) else value)]


def _reduction(at: int = 1) -> Rule:
    def rule(c: Call) -> Field:
        x = c.node.args[0]
        over = c.arg(at, "dim")
        if isinstance(over, ValueRef):  # the elementwise maximum of two tensors
            return pointwise(c)
        rank = len(c.shape(x))
        dims = _dims(over, rank)
        kept = len(c.out_shape) == rank
        return c.each(x, lambda t: c.domain.mix(t, dims) if kept else without(c.domain.mix(t, dims), dims))

    return rule


def beside(c: Call, x: Any, dims: Sequence[int]) -> Field | None:
    """Each position keeps its own path, and sees all along the dimensions on another (softmax, normalisation)."""
    terms = c.terms(x)
    if not any(_reaches(t, dims) for t in terms):
        return c.field(x)
    return c.domain.join([*terms, *(c.domain.mix(t, dims) for t in terms)])


def _reaches(term: Term, dims: Sequence[int]) -> bool:
    return any(term.along(d) or d in term.home for d in dims)


def _softmax(c: Call) -> Field | None:
    x = c.node.args[0]
    return beside(c, x, _dims(c.node.args[1], len(c.shape(x))))


def _all_along(c: Call) -> Field:
    """Positions see all along a dimension: sorting, cumulative sums beside."""
    x = c.node.args[0]
    dims = _dims(c.arg(1, "dim", -1), len(c.shape(x)))
    return c.each(x, lambda t: c.domain.mix(t, dims))


def _cumulative(c: Call) -> Field | None:
    """Each position sees those before it, and itself on another path."""
    x, (dim,) = c.node.args[0], _dims(c.node.args[1], len(c.shape(c.node.args[0])))
    terms = c.terms(x)
    if not any(_reaches(t, [dim]) for t in terms):
        return c.field(x)
    return c.domain.join([*terms, *(c.domain.accumulate(t, dim) for t in terms)])


def _recurrent(c: Call) -> list[Field | None]:
    """A recurrent network over a sequence; the last state has seen all of it."""
    x = c.node.args[0]
    along, last = (1 if c.node.kwargs["batch_first"] else 0), len(c.out_shape) - 1
    terms = [c.domain.mix(t, [last]) for t in c.terms(x)]
    if c.node.kwargs["bidirectional"]:
        seen = [c.domain.mix(t, [along]) for t in terms]
    else:
        seen = [c.domain.accumulate(t, along) for t in terms]
    out = c.domain.join([*terms, *seen]) if any(_reaches(t, [along]) for t in terms) else c.domain.join(terms)
    return [out, *[c.everything()] * (len(c.node.outputs) - 1)]


def _topk(c: Call) -> Field:
    x = c.node.args[0]
    dims = _dims(c.arg(2, "dim", -1), len(c.shape(x)))
    return c.each(x, lambda t: c.domain.mix(t, dims))


def _fft(c: Call) -> Field:
    x = c.node.args[0]
    dims = _dims(c.node.args[1], len(c.shape(x)))
    return c.each(x, lambda t: c.domain.mix(t, dims))


def _layer_norm(c: Call) -> Field | None:
    x, covered = c.node.args[0], len(c.node.args[1])
    rank = len(c.shape(x))
    return beside(c, x, range(rank - covered, rank))


def _group_norm(c: Call) -> Field | None:
    """Its statistics are taken over height and width as well."""
    x = c.node.args[0]
    return beside(c, x, range(1, len(c.shape(x))))


def _batch_norm(c: Call) -> Field | None:
    """Its statistics are constants of the model, unless it is an instance norm that takes them of the map."""
    x = c.node.args[0]
    if "no_training" in c.node.op or not (c.node.args[5] if c.node.op == "aten.native_batch_norm" else True):
        return c.field(x)
    return beside(c, x, [0, *range(2, len(c.shape(x)))])


def _product(c: Call) -> Field:
    """Matrix product: positions along what it sums over see each other."""
    a, b = [r for r in c.node.args if isinstance(r, ValueRef)][-2:]
    rank = len(c.out_shape)
    terms = [t for r in c.node.args[: len(c.node.args) - 2] for t in c.terms(r, rank)]
    terms += [c.domain.mix(t, [rank - 1]) for t in c.terms(a)]
    terms += [c.domain.mix(t, [rank - 2]) for t in c.terms(b)]
    return c.domain.join(terms)


def _vector_product(c: Call) -> Field:
    """mv, dot."""
    a, b = c.node.args[:2]
    terms = [without(c.domain.mix(t, [len(c.shape(a)) - 1]), [len(c.shape(a)) - 1]) for t in c.terms(a)]
    return c.domain.join([*terms, *(without(c.domain.mix(t, [0]), [0]) for t in c.terms(b))])


def _attention(c: Call) -> Field:
    """Each query sees all keys and values, and its own place on another path."""
    q, k, v = c.node.args[:3]
    rank = len(c.out_shape)
    terms = [c.domain.mix(t, [rank - 1]) for t in c.terms(q)]
    terms += [c.domain.mix(t, [rank - 2, rank - 1]) for t in c.terms(k)]
    terms += [c.domain.mix(t, [rank - 2]) for t in c.terms(v)]
    masks = [r for r in c.node.args[3:] if isinstance(r, ValueRef)]
    terms += [c.domain.mix(t, [rank - 1]) for m in masks for t in c.terms(m, rank)]
    return c.domain.join(terms)


def _grid_sample(c: Call) -> Field:
    """Any pixel of the map may be sampled; where, is seen by the place of the output."""
    x, grid = c.node.args[:2]
    n = len(c.out_shape) - 2
    found = list(c.domain.spread(c.terms(x), len(c.out_shape)).terms) if c.terms(x) else []
    for term in c.terms(grid):
        place = without(c.domain.mix(term, [n + 1]), [n + 1])
        found.append(unsqueezed(place, 1))
    return c.domain.join(found)


def _embedding(c: Call) -> Field:
    """A table looked up at every position."""
    x = c.node.args[1]
    if c.field(c.node.args[0]) is not None:
        return c.everything()
    return c.each(x, lambda t: unsqueezed(t, len(c.shape(x))))


def _everything(c: Call) -> Field:
    return c.everything()


def _named(names: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


MIX_RULES: dict[str, Rule] = {
    **_named("mean sum amax amin max min prod any all var std var_mean std_mean logsumexp argmax argmin", _reduction()),
    **_named("median nanmedian nansum nanmean aminmax", _reduction()),
    **_named("linalg_vector_norm norm", _reduction(2)),
    **_named("_softmax _log_softmax _safe_softmax", _softmax),
    **_named("cumsum cumprod logcumsumexp", _cumulative),
    **_named("sort argsort", _all_along),
    **_named("topk", _topk),
    **_named("_fft_c2c _fft_r2c _fft_c2r", _fft),
    **_named("native_layer_norm _fused_rms_norm", _layer_norm),
    **_named("native_group_norm", _group_norm),
    **_named("native_batch_norm _native_batch_norm_legit_no_training _native_batch_norm_legit", _batch_norm),
    **_named("mm addmm bmm baddbmm", _product),
    **_named("mv dot", _vector_product),
    **_named(
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math "
        "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
        "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable",
        _attention,
    ),
    **_named("grid_sampler_2d grid_sampler_3d", _grid_sample),
    **_named("embedding", _embedding),
    **_named("lstm gru rnn_tanh rnn_relu", _recurrent),
    **_named("nonzero masked_select _unique2", _everything),
    # which pixels these read follows from the image
    **{f"torchvision.{name}": _everything for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")},
    "torchvision.deform_conv2d": _everything,
}
