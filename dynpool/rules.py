"""The rule of each ATen operation: which axes its outputs have, which must agree, which are pinned, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .axes import Atom, Dim, Mac, Resize, constant_dims

if TYPE_CHECKING:
    from .graph import Graph, Node, Value

__all__ = ["annotate"]


class _Context:
    """What a rule needs of the graph: the values of a node, uniting and pinning."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph = graph
        self.node = node
        self.classes = graph.classes

    def value(self, ref: Any) -> Value:
        return self.graph.values[ref.id]

    def arg(self, index: int, default: Any = None) -> Any:
        return self.node.args[index] if len(self.node.args) > index else default

    @property
    def first(self) -> Value:
        return self.graph.values[self.node.inputs[0]]

    @property
    def out(self) -> Value:
        return self.graph.values[self.node.outputs[0]]

    def pin(self, dims: Sequence[Dim], why: str) -> None:
        for dim in dims:
            for axis in dim.axes:
                self.classes.pin(axis, f"{why} in {self.node.path or 'the model'} ({self.node.op})")

    def unify(self, a: Dim, b: Dim, why: str) -> Dim:
        """The dimension two equal-sized dimensions become when they must agree."""
        if not a.axes or not b.axes:
            self.pin((a, b), why)
        elif [x.size for x in a.atoms] == [x.size for x in b.atoms]:
            for x, y in zip(a.atoms, b.atoms, strict=True):
                if x.axis is not None and y.axis is not None:
                    self.classes.unite(x.axis, y.axis)
                elif x.axis is not None or y.axis is not None:
                    self.pin((a, b), why)
        else:
            self.pin((a, b), "dimensions split in different ways meet")
        return a if a.axes else b

    def mac(self, macs: int, dims: Sequence[Dim]) -> None:
        axes = tuple((a.axis, a.size) for d in dims for a in d.atoms if a.axis is not None)
        self.graph.macs.append(Mac(self.node.index, self.node.op, self.node.path, macs, axes))


Rule = Callable[[_Context], tuple[Dim, ...]]


def _same(c: _Context) -> tuple[Dim, ...]:
    return c.first.dims


def _pointwise(c: _Context) -> tuple[Dim, ...]:
    shape = c.out.shape
    dims: list[Dim] = [Dim()] * len(shape)
    for vid in c.node.inputs:
        value = c.graph.values[vid]
        for i, dim in enumerate(value.dims):
            at = len(shape) - len(value.dims) + i
            if at < 0 or dim.size == 1:
                continue
            if dims[at].size == 1:
                dims[at] = dim
            else:
                dims[at] = c.unify(dims[at], dim, f"combined with a {value.origin} of that size")
    return tuple(d if d.size == n else Dim((Atom(n),)) if n != 1 else Dim() for d, n in zip(dims, shape, strict=True))


def _ints(value: Any, n: int, default: int = 1) -> tuple[int, ...]:
    items = [default] if value is None or value == [] else ([value] if isinstance(value, int) else list(value))
    return tuple(int(v) for v in (items * n if len(items) == 1 else items))


def _spatial(c: _Context, resize: dict[str, Any] | None) -> tuple[Dim, ...]:
    """Dimensions after a sliding window: unchanged classes where it does not stride, new ones where it does."""
    x, out = c.first, c.out
    dims = list(constant_dims(out.shape))
    dims[: len(dims) - 2] = x.dims[:-2] if len(x.dims) == len(dims) else dims[:-2]
    if c.node.op in ("aten.convolution", "aten._convolution"):
        dims[-3] = constant_dims(out.shape[-3:-2])[0]
    before = x.dims[-2:]
    for dim in before:
        if len(dim.atoms) > 1:
            c.pin((dim,), "a window slides over flattened dimensions")
    source = [d.axis for d in before]
    if resize is None:
        for i in (0, 1):
            axis = source[i]
            if axis is not None and out.shape[i - 2] > 1:
                dims[i - 2] = Dim((Atom(out.shape[i - 2], axis),))
        return tuple(dims)
    target: list[int | None] = [None, None]
    for i in (0, 1):
        if source[i] is not None and out.shape[i - 2] > 1 and not resize.get("fixed"):
            target[i] = c.classes.new(out.shape[i - 2])
            dims[i - 2] = Dim((Atom(out.shape[i - 2], target[i]),))
    c.graph.resizes.append(
        Resize(
            c.node.index,
            c.node.op.split(".")[-1],
            c.node.path,
            c.node.call,
            (source[0], source[1]),
            (target[0], target[1]),
            (x.shape[-2], x.shape[-1]),
            (out.shape[-2], out.shape[-1]),
            **resize,
        )
    )
    return tuple(dims)


def _window(c: _Context, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> tuple[Dim, ...]:
    strides = _ints(stride, 2)
    if all(s == 1 for s in strides):
        return _spatial(c, None)
    resize = {
        "kernel": _ints(kernel, 2),
        "stride": strides,
        "padding": _ints(padding, 2, 0),
        "dilation": _ints(dilation, 2),
    }
    return _spatial(c, {**resize, "ceil_mode": ceil})


def _convolution(c: _Context) -> tuple[Dim, ...]:
    x, weight = c.first, c.value(c.arg(1))
    _, _, _, stride, padding, dilation, transposed = c.node.args[:7]
    per_output = math.prod(weight.shape[1:])
    if len(weight.shape) != 4:
        c.mac(math.prod(c.out.shape) * per_output, ())
        return _unknown(c)
    if transposed:
        dims = _spatial(c, {"kernel": weight.shape[2:], "stride": _ints(stride, 2), "fixed": True})
        c.pin(x.dims[-2:], "a transposed convolution sets its output's size")
        c.mac(math.prod(x.shape) * per_output, x.dims[-2:])
        return dims
    dims = _window(c, weight.shape[2:], stride, padding, dilation, False)
    c.mac(math.prod(c.out.shape) * per_output, dims[-2:])
    return dims


def _max_pool(c: _Context) -> tuple[Dim, ...]:
    kernel = c.arg(1)
    return _window(c, kernel, c.arg(2) or kernel, c.arg(3, 0), c.arg(4, 1), bool(c.arg(5, False)))


def _avg_pool(c: _Context) -> tuple[Dim, ...]:
    kernel = c.arg(1)
    return _window(c, kernel, c.arg(2) or kernel, c.arg(3, 0), 1, bool(c.arg(4, False)))


def _dynopool(c: _Context) -> tuple[Dim, ...]:
    return _spatial(c, {})


def _fixed(c: _Context) -> tuple[Dim, ...]:
    return _spatial(c, {"fixed": True})


def _normalized(c: _Context) -> tuple[Dim, ...]:
    """Normalisation: of the first input's shape; a weight over a spatial axis pins it (layer norm)."""
    if c.node.op == "aten.native_layer_norm":
        covered = len(c.arg(1))
        weighted = len(c.node.inputs) > 1
        if weighted:
            c.pin(c.first.dims[len(c.first.dims) - covered :], "normalised with a weight of that size")
    return c.first.dims


def _reduce(c: _Context) -> tuple[Dim, ...]:
    rank = len(c.first.dims)
    over = c.arg(1, c.node.kwargs.get("dim"))
    if over is None or over == []:
        return constant_dims(c.out.shape)
    gone = {d % rank for d in ([over] if isinstance(over, int) else over)}
    keep = c.arg(2, c.node.kwargs.get("keepdim", False))
    return tuple(Dim() if i in gone else d for i, d in enumerate(c.first.dims) if keep or i not in gone)


def _view(c: _Context) -> tuple[Dim, ...]:
    atoms = [a for d in c.first.dims for a in d.atoms][::-1]
    dims: list[Dim] = []
    for n in c.out.shape:
        taken: list[Atom] = []
        left = n
        while left > 1:
            atom = atoms.pop()
            if left % atom.size == 0:
                taken.append(atom)
                left //= atom.size
            elif atom.size % left == 0:
                if atom.axis is not None:
                    c.classes.pin(atom.axis, f"split by a view into blocks of {atom.size // left} in {c.node.path}")
                taken.append(Atom(left))
                atoms.append(Atom(atom.size // left))
                left = 1
            else:
                c.pin((Dim((*taken, atom, *atoms)),), "a view cuts across it")
                return constant_dims(c.out.shape)
        dims.append(Dim(tuple(taken)))
    return tuple(dims)


def _permute(c: _Context) -> tuple[Dim, ...]:
    dims = c.first.dims
    if c.node.op == "aten.permute":
        return tuple(dims[i] for i in c.arg(1))
    order = list(range(len(dims)))
    if len(order) > 1:
        a, b = (0, 1) if c.node.op == "aten.t" else (c.arg(1), c.arg(2))
        order[a], order[b] = order[b], order[a]
    return tuple(dims[i] for i in order)


def _expand(c: _Context) -> tuple[Dim, ...]:
    shape = c.out.shape
    old: tuple[Dim, ...] = (Dim(),) * (len(shape) - len(c.first.dims)) + c.first.dims
    return tuple(d if d.size == n else Dim((Atom(n),)) for d, n in zip(old, shape, strict=True))


def _unsqueeze(c: _Context) -> tuple[Dim, ...]:
    dims = list(c.first.dims)
    at = c.arg(1)
    dims.insert(at if at >= 0 else at + len(dims) + 1, Dim())
    return tuple(dims)


def _squeeze(c: _Context) -> tuple[Dim, ...]:
    rank = len(c.first.dims)
    only = c.arg(1)
    places = range(rank) if only is None else [d % rank for d in ([only] if isinstance(only, int) else only)]
    return tuple(d for i, d in enumerate(c.first.dims) if not (i in places and c.first.shape[i] == 1))


def _select(c: _Context) -> tuple[Dim, ...]:
    at = c.arg(1) % len(c.first.dims)
    c.pin((c.first.dims[at],), "one position is selected")
    return tuple(d for i, d in enumerate(c.first.dims) if i != at)


def _resized(c: _Context) -> tuple[Dim, ...]:
    """Slices, paddings and splits: a changed axis is the same class plus an offset; a strided slice opens a new one."""
    out = c.out.shape
    changed = [i for i, (d, n) in enumerate(zip(c.first.dims, out, strict=True)) if d.size != n]
    dims = list(c.first.dims)
    step = c.arg(4, 1) if c.node.op == "aten.slice" else 1
    for i in changed:
        axis = dims[i].axis
        if axis is None or out[i] == 1:
            c.pin((dims[i],), "cut or padded to a fixed size")
            dims[i] = constant_dims(out[i : i + 1])[0]
        elif step == 1:
            dims[i] = Dim((Atom(out[i], axis),))
        else:
            c.pin((dims[i],), "a strided slice")
            dims[i] = constant_dims(out[i : i + 1])[0]
    return tuple(dims)


def _split(c: _Context) -> tuple[Dim, ...]:
    at = c.arg(2, 0) % len(c.first.dims)
    c.pin((c.first.dims[at],), "split into parts")
    for vid in c.node.outputs:
        value = c.graph.values[vid]
        value.dims = tuple(
            constant_dims(value.shape[i : i + 1])[0] if i == at else d for i, d in enumerate(c.first.dims)
        )
    return c.out.dims


def _cat(c: _Context) -> tuple[Dim, ...]:
    parts = [c.graph.values[v] for v in c.node.inputs if c.graph.values[v].shape != (0,)]
    at = c.arg(1, 0) % len(c.out.shape)
    dims = list(parts[0].dims)
    for part in parts:
        c.pin((part.dims[at],), "concatenated along it")
        for i, dim in enumerate(part.dims):
            if i != at and dim.size != 1:
                dims[i] = c.unify(dims[i], dim, "concatenated with a tensor of that size")
    dims[at] = constant_dims(c.out.shape[at : at + 1])[0]
    return tuple(dims)


def _matmul(c: _Context) -> tuple[Dim, ...]:
    operands = [c.graph.values[v] for v in c.node.inputs[-2:]]
    a, b = operands
    inner = c.unify(a.dims[-1], b.dims[-2], "multiplied with a matrix of that size")
    dims: tuple[Dim, ...] = (*a.dims[:-1], b.dims[-1])
    if len(a.dims) == 3:
        batch, other = a.dims[0], b.dims[0]
        dims = (c.unify(batch, other, "a batch of matrices") if batch.axes or other.axes else batch, *dims[1:])
    c.mac(math.prod(a.shape) * b.shape[-1], (*dims, inner))
    return dims


def _unknown(c: _Context) -> tuple[Dim, ...]:
    touched = [d for v in c.node.inputs for d in c.graph.values[v].dims]
    if any(d.axes for d in touched):
        c.pin(touched, "an operation without a rule")
        c.graph.not_understood[c.node.op] = c.graph.not_understood.get(c.node.op, 0) + 1
    return constant_dims(c.out.shape)


def _ops(names: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


_RULES: dict[str, Rule] = {
    "dynpool.dynopool2d": _dynopool,
    "dynpool.resizer": _dynopool,  # a whole resizer module, contracted by the tracer
    **_ops("convolution _convolution", _convolution),
    **_ops("max_pool2d_with_indices max_pool2d", _max_pool),
    **_ops("avg_pool2d", _avg_pool),
    **_ops(
        "_adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d", _fixed
    ),
    **_ops("hardswish hardsigmoid hardtanh leaky_relu elu celu selu mish softplus threshold _prelu_kernel", _pointwise),
    **_ops("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", _normalized),
    **_ops("cudnn_batch_norm _batch_norm_with_update native_group_norm native_layer_norm", _normalized),
    **_ops("_softmax _log_softmax clone contiguous _to_copy detach alias copy native_dropout lift_fresh", _same),
    **_ops("bernoulli_ zero_ fill_ _unsafe_masked_index_put_accumulate", _same),
    **_ops("mean sum amax amin max min prod any all var std logsumexp linalg_vector_norm", _reduce),
    **_ops("view _unsafe_view reshape _reshape_alias flatten", _view),
    **_ops("permute transpose t", _permute),
    **_ops("expand", _expand),
    **_ops("unsqueeze", _unsqueeze),
    **_ops("squeeze", _squeeze),
    **_ops("select", _select),
    **_ops("slice constant_pad_nd reflection_pad2d replication_pad2d", _resized),
    **_ops("split split_with_sizes", _split),
    **_ops("cat", _cat),
    **_ops("mm addmm bmm baddbmm", _matmul),
}


def annotate(graph: Graph, node: Node) -> None:
    """Give the outputs of `node` their dimensions, uniting and pinning axis classes as its operation demands."""
    if not node.outputs:
        return
    context = _Context(graph, node)
    if not node.inputs:
        rule: Rule = lambda c: constant_dims(c.out.shape)  # noqa: E731
    else:
        rule = (
            _RULES.get(node.op) or _RULES.get(node.op.removesuffix("_")) or (_pointwise if node.pointwise else _unknown)
        )
    dims = rule(context)
    for vid in node.outputs:
        value = graph.values[vid]
        if value.dims:
            continue
        value.dims = dims if tuple(d.size for d in dims) == value.shape else constant_dims(value.shape)
