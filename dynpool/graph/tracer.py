"""Trace a model once into a graph of ATen operations; conversion, cost and receptive fields all read that graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Unpack

import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_flags, check_model, is_whole
from dynpool.resizers import LearnedResizer
from dynpool.resolution import frozen_sizes, resolution_tree, unwrapped

from .forward_pass import RETURNS, Choose, ForwardPass, meta_state, run_pass
from .inputs import Inputs, InputSize, check_input_size, make_inputs
from .ir import Graph, Node, Value
from .meta.aliasing import aliasing
from .meta.containers import map_tensors, tensors_in
from .ops.describe import describe
from .pass_options import PassOptions
from .record import Place, Shape, Shapes

__all__ = [
    "RETURNS",
    "Choose",
    "Place",
    "Shape",
    "Shapes",
    "check_input_size",
    "trace",
    "trace_compared",
    "trace_shapes",
]


class _Recorder(ForwardPass):
    """Appends every operation that runs to the graph, and maps each live tensor object to its value."""

    def __init__(self, graph: Graph, *, compared: bool = True, strict: bool = True) -> None:
        super().__init__(compared=compared, strict=strict)
        self.graph = graph
        self.calls, self.callers, self.shapes = graph.calls, graph.callers, graph.returns
        self.classes_of = graph.classes_of
        self.known_as: dict[int, Value] = {}  # by the tensor's id
        self.alive: list[Tensor] = []  # ids of objects are unique only while the objects live

    def add(self, tensor: Tensor, origin: str, name: str = "") -> Value:
        value = Value(len(self.graph.values), tuple(tensor.shape), origin, name, dtype=tensor.dtype)
        self.graph.values.append(value)
        self.alive.append(tensor)
        self.known_as[id(tensor)] = value
        return value

    def start(self, state: Mapping[str, Tensor], buffers: set[str], images: Sequence[Tensor]) -> None:
        """Add values for the model's parameters, buffers and inputs."""
        for name, t in state.items():
            shared = self.known_as.get(id(t))
            value = self.add(t, "buffer" if name in buffers else "parameter", name)
            self.graph.weights[name] = (shared or value).id
        self.graph.inputs = tuple([self.add(x, "input", "input").id for x in images])
        self.graph.input_id = self.graph.inputs[0]

    def end(self) -> None:
        """Find the tensors that outlive the pass, wherever they are stored."""
        held = [(value, weakref.ref(tensor)) for value, tensor in zip(self.graph.values, self.alive, strict=True)]
        self.alive.clear()
        self.known_as.clear()
        self.graph.outputs = frozenset(v.id for v, ref in held if v.origin == "op" and ref() is not None)

    def known(self, tensor: Tensor) -> Value:
        value = self.known_as.get(id(tensor))
        if value is not None:
            if not self.constants.known(tensor):
                value.data = None
            return value
        return self.keep_data(tensor, self.add(tensor, "constant"))

    def keep_data(self, tensor: Tensor, value: Value) -> Value:
        """Store the positions in a constant made by the pass; it may be written to later."""
        if self.constants.known(tensor) and not tensor.is_floating_point() and not tensor.is_complex():
            value.data = tensor.clone()
        return value

    def begin(self, op: str, arguments: dict[str, Any]) -> Node:
        inputs: list[int] = []

        def known(tensor: Tensor) -> Value:
            value = self.known(tensor)
            inputs.append(value.id)
            return value

        recorded = map_tensors(known, arguments)
        path, call, op, occurrence = self.place(op)
        return Node(-1, op, recorded, tuple(inputs), (), path, call, occurrence, False)

    def finish(self, begun: Any, out: Any, func: Any = None, *, resizer: LearnedResizer[Any] | None = None) -> None:
        node: Node = begun
        node.resizer = resizer
        if func is not None:
            node.pointwise, node.aliasing = torch.Tag.pointwise in func.tags, aliasing(func)
        node.index = len(self.graph.nodes)
        self.graph.nodes.append(node)
        node.outputs = tuple([self.keep_data(t, self.add(t, "op")).id for t in tensors_in(out)])


_R = TypeVar("_R", bound=ForwardPass)


def _passed(make: Callable[[Inputs, bool], _R], run: Callable[[Inputs, _R], None], examples: Sequence[Inputs]) -> _R:
    """The recorder of the first example that the model runs on.

    Where the model's code compares values, which a pass without data does not have, both outcomes are tried, and the
    pass that executes more is used. `make` returns a recorder for an example and the assumed result of comparisons.
    """
    failure: ValueError | None = None
    for example in examples:
        done: list[_R] = []
        for compared in (True, False):
            recorder = make(example, compared)
            try:
                run(example, recorder)
                done.append(recorder)
            except ValueError as error:
                failure = failure or error
            if not recorder.values_read.doubtful:
                break
        if done:
            return max(done, key=lambda r: r.executed)
    raise failure or ValueError("there is no input to run the model on")


def _examples(
    model: nn.Module,
    input_size: InputSize | None,
    inputs: Any,
    training: bool,
    batch: int | None,
    dtype: torch.dtype | None,
) -> list[Inputs]:
    """Example inputs to try: of `dtype`, or that of the weights, complex, and indices if the model has embeddings."""
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype must be a torch.dtype, got {dtype!r}")
    if batch is not None and not (is_whole(batch) and batch > 0):
        raise ValueError(f"batch must be a positive int, got {batch!r}")
    frozen = frozen_sizes(model)
    tree = resolution_tree(model) if frozen is None else frozen.tree
    own = {} if tree is None else tree.pass_options
    inputs = own.get("inputs") if inputs is None else inputs
    if dtype is not None and inputs is not None:
        raise ValueError(f"dtype is {dtype}, but inputs are given: their dtypes count")
    if batch is not None and inputs is not None:
        raise ValueError(f"batch is {batch}, but inputs are given: their batch counts")
    dtype = own.get("dtype") if dtype is None else dtype
    n = batch or own.get("batch") or (2 if training else 1)
    weights = [t.dtype for t in (*model.parameters(), *model.buffers())]
    real = next((d for d in weights if d.is_floating_point), torch.float32)
    wanted = [d for d in weights if d.is_floating_point or d.is_complex][:1] or [real]
    wanted += [*[d for d in weights if d.is_complex][:1], real]
    wanted += [torch.int64] * any(isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in model.modules())
    wanted = wanted if dtype is None else [dtype]
    kinds = list(dict.fromkeys(wanted)) if inputs is None else [real]
    return [make_inputs(input_size, inputs, kind, batch=n) for kind in kinds]


@torch.inference_mode(False)
def trace(
    model: nn.Module,
    input_size: InputSize | None,
    *,
    inputs: Any = None,
    larger: Sequence[int] | None = None,
    others: Shapes | None = None,
    choose: Choose | None = None,
    training: bool = False,
    batch: int | None = None,
    every_window: bool = False,
    strict: bool = True,
    dtype: torch.dtype | None = None,
) -> Graph:
    """Run `model` once on meta tensors and record its operations, without memory and without changing the model.

    Args:
        model: any module; its mode is restored afterwards.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W), or a list or dict of such for a model of several
            inputs. None: of the first tensor in `inputs`.
        inputs: the arguments of the model (a tensor, a tuple or a dict), if sizes alone are not enough. None: those
            that a converted model was converted with, at `input_size`.
        larger: another input size, for a second pass. A dimension of equal size in both passes is a number, one that
            varies depends on the input: this distinguishes windows from their count, and tables from grids made for the
            map. Without a second pass, ambiguous dimensions are pinned.
        others: the shapes of such a second pass, by `trace_shapes`, over an input of the same size but with other
            learned sizes; instead of `larger`.
        choose: gives the output sizes of hand-placed resizers, instead of what their alphas say.
        training: run in training mode rather than in eval mode.
        batch: images of the pass, where `inputs` are not given. None: those that a converted model was converted
            with, else one, or two in training mode.
        every_window: give layers of stride 1 axis classes of their own and list them in `Graph.resizes`, to evaluate
            other strides there. Classes then say which layers could change together, not which maps agree.
        strict: False: a map that has outgrown the weights of a layer, as at a larger size than the model is for, is
            passed on all the same. The pass at `larger` is made so in any case.
        dtype: of inputs made from `input_size`. None: that of the weights, or indices if only these run.

    Raises:
        TraceError: when the model cannot run on `inputs`, at `input_size` or at `larger`.
        ValueError: for a bad `input_size` or `inputs`, or a model that has no shapes yet or cannot be traced.
    """
    check_model(model)
    check_flags(training=training, every_window=every_window)
    model = unwrapped(model)
    state = meta_state(model)
    shapes: Shapes = others or {}
    if larger is not None:
        if inputs is not None:
            inputs = make_inputs(input_size, inputs, torch.float32)  # which can be made larger
        shapes = trace_shapes(model, larger, training=training, strict=False, inputs=inputs, batch=batch, dtype=dtype)

    def make(example: Inputs, compared: bool) -> _Recorder:
        graph = Graph(example.size, every_window=every_window, batch=example.batch, example=example, others=shapes)
        if larger is not None or others is not None:
            graph.larger = check_input_size(example.size if larger is None else larger)
        return _Recorder(graph, compared=compared, strict=strict)

    def run(example: Inputs, recorder: _Recorder) -> None:
        run_pass(model, example, state, recorder, training, choose)

    recorder = _passed(make, run, _examples(model, input_size, inputs, training, batch, dtype))
    graph = recorder.graph
    graph.notes += recorder.values_read.notes()
    for node in graph.nodes:
        node.primitive = describe(graph, node)
    return graph


@torch.inference_mode(False)
def trace_shapes(
    model: nn.Module,
    input_size: Sequence[int],
    *,
    choose: Choose | None = None,
    training: bool = False,
    strict: bool = True,
    inputs: Inputs | None = None,
    batch: int | None = None,
    dtype: torch.dtype | None = None,
) -> Shapes:
    """The output shapes of every operation and module of a pass, by its position in the pass; cheaper than `trace`."""
    model = unwrapped(model)
    state = meta_state(model)

    def make(example: Inputs, compared: bool) -> ForwardPass:
        return ForwardPass(compared=compared, strict=strict)

    def run(example: Inputs, recorder: ForwardPass) -> None:
        run_pass(model, example, state, recorder, training, choose)

    return _passed(make, run, _examples(model, check_input_size(input_size), inputs, training, batch, dtype)).shapes


_APART = (2, 3, 5)  # how much larger the axes are in a second pass that distinguishes them


def trace_compared(
    model: nn.Module,
    input_size: Sequence[int],
    *,
    training: bool = False,
    strict: bool = True,
    **options: Unpack[PassOptions],
) -> Graph:
    """`trace` with a second pass over an input of twice the height and three times the width, or of twice both.

    Of three axes, these are twice the depth, three times the height and five times the width, or twice all. A model
    that cannot run at a larger size is traced without the second pass.
    """
    channels, *extents = check_input_size(input_size)
    apart, alike = ([n * factor for n, factor in zip(extents, each, strict=False)] for each in (_APART, (2, 2, 2)))
    for larger in dict.fromkeys(((channels, *apart), (channels, *alike))):
        try:
            return trace(model, input_size, larger=larger, training=training, strict=strict, **options)
        except ValueError:
            continue  # a model for one size, or for square inputs; at its own size it is traced below
    return trace(model, input_size, training=training, strict=strict, **options)
