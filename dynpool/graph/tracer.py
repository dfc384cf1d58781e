"""Trace a model once into a graph of ATen operations; conversion, cost and receptive fields all read that graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dynpool.common.arguments import check_flags, check_model, is_whole
from dynpool.graph.axis_rules.table import annotate
from dynpool.graph.meta.aliasing import aliasing
from dynpool.graph.meta.containers import map_tensors, tensors_in
from dynpool.graph.meta.data_dependent import recurrent_outputs
from dynpool.graph.meta.run import Constants, run_on_meta
from dynpool.graph.meta.values_read import ValuesRead
from dynpool.resizers.dynopool import DynOPool2d
from dynpool.resizers.learned_resizer import LearnedResizer2d, host_alphas
from dynpool.resolution.tree import resolution_tree
from dynpool.resolution.wrappers import unwrapped, without_sharding

from .axes import Dim, constant_dims, input_dims
from .errors import TraceError
from .inputs import Inputs, InputSize, check_input_size, make_inputs
from .ir import Graph, Node, Place, Shape, Value, ValueRef
from .untouched import untouched

__all__ = [
    "RETURNS",
    "Shape",
    "Shapes",
    "check_input_size",
    "trace",
    "trace_compared",
    "trace_shapes",
]

Pair = tuple[int, int]


RETURNS = "returns"  # in the place of an operation: what a call of a module returns
Shapes = Mapping[Place, tuple[tuple[Shape, ...], tuple[Shape, ...]]]  # of its inputs, and of its outputs
Choose = Callable[[LearnedResizer2d, Pair], Pair]  # the output size of a hand-placed resizer for that of its input


class _Pass(TorchDispatchMode):
    """A forward pass on meta tensors that knows which module runs, and notes the shapes that every operation gives."""

    def __init__(self, *, compared: bool = True) -> None:
        super().__init__()
        self.values_read = ValuesRead(compared=compared)
        self.executed = 0
        self.running = ""  # the operation that runs
        self.calls: dict[str, int] = {}
        self.callers: dict[tuple[str, int], tuple[str, int]] = {}
        self.stack: list[tuple[str, int]] = [("", 0)]
        self.hidden = 0  # depth of modules whose inside is not recorded
        self.constants = Constants()
        self.shapes: dict[Place, tuple[tuple[Shape, ...], tuple[Shape, ...]]] = {}
        self._count: dict[tuple[str, int, str], int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name == "aten::_local_scalar_dense" and not self.constants.known(args[0]):
            return self.values_read.read(args[0])
        self.running = name.replace("::", ".")
        begun = None if self.hidden else self.begin(self.running, args, kwargs)
        out = run_on_meta(func, args, kwargs, self.constants)
        self.executed += 1
        self.values_read.note(name, out)
        if begun is not None:
            self.finish(begun, out, func)
        self.running = ""
        return out

    def place(self, op: str) -> Place:
        """Where the operation stands in the pass; asked once for each."""
        path, call = self.stack[-1]
        k = self._count[path, call, op] = self._count.get((path, call, op), -1) + 1
        return (path, call, op, k)

    def note_output(self, path: str, out: Any) -> None:
        """Note the shapes that a module returns, resizes hooked to it included, under the operation `RETURNS`."""
        k = self._count[path, 0, RETURNS] = self._count.get((path, 0, RETURNS), -1) + 1
        self.shapes[path, k, RETURNS, 0] = (
            (),
            tuple(tuple(t.shape) for t in tree_leaves(out) if isinstance(t, Tensor)),
        )

    def end(self) -> None:
        """The pass is over, and what it returns still there."""

    def begin(self, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What is known of an operation before it runs."""
        return self.place(op), _shapes((args, kwargs))

    def finish(self, begun: Any, out: Any, func: Any = None, *, resizer: LearnedResizer2d | None = None) -> None:
        """Note what came out of it; `func` is the ATen operation, where it is one."""
        place, inputs = begun
        self.shapes[place] = (inputs, _shapes(out))


def _shapes(values: Any) -> tuple[Shape, ...]:
    return tuple(tuple(t.shape) for t in tensors_in(values))


class _Recorder(_Pass):
    """Appends every operation that runs to the graph, and knows which value each live tensor object is."""

    def __init__(
        self, graph: Graph, others: Shapes, larger: tuple[int, int, int] | None, *, compared: bool = True
    ) -> None:
        super().__init__(compared=compared)
        self.graph = graph
        self.others = others
        self.larger = larger
        self.calls, self.callers, self.shapes = graph.calls, graph.callers, graph.returns
        self.ids: dict[int, int] = {}
        self.alive: list[Tensor] = []  # ids of objects are unique only while the objects live

    def add(self, tensor: Tensor, origin: str, name: str, dims: tuple[Dim, ...]) -> int:
        value = Value(len(self.graph.values), tuple(tensor.shape), origin, name, dims)
        self.graph.values.append(value)
        self.alive.append(tensor)
        self.ids[id(tensor)] = value.id
        return value.id

    def start(self, state: Mapping[str, Tensor], buffers: set[str], images: Sequence[Tensor]) -> None:
        """Make the model's parameters, buffers and inputs known."""
        for name, t in state.items():
            self.add(t, "buffer" if name in buffers else "parameter", name, constant_dims(t.shape, t.shape))
        of_images = len(self.graph.size) == 3
        for x in images:
            dims = (
                input_dims(self.graph.classes, x.shape, self.larger) if of_images else constant_dims(x.shape, x.shape)
            )
            self.graph.inputs += (self.add(x, "input", "input", dims),)
        self.graph.input_id = self.graph.inputs[0]

    def end(self) -> None:
        """Find the tensors that outlive the pass, whoever holds them."""
        held = [(value, weakref.ref(tensor)) for value, tensor in zip(self.graph.values, self.alive, strict=True)]
        self.alive.clear()
        self.ids.clear()
        self.graph.outputs = frozenset(v.id for v, ref in held if v.origin == "op" and ref() is not None)

    def known(self, tensor: Tensor) -> int:
        if id(tensor) in self.ids:
            value = self.ids[id(tensor)]
            if not self.constants.known(tensor):
                self.graph.values[value].data = None
            return value
        return self.keep_data(tensor, self.add(tensor, "constant", "", constant_dims(tensor.shape, tensor.shape)))

    def keep_data(self, tensor: Tensor, value: int) -> int:
        """Remember the positions that a constant holds which the pass makes; it may be written to later."""
        if self.constants.known(tensor) and not tensor.is_floating_point() and not tensor.is_complex():
            self.graph.values[value].data = tensor.clone()
        return value

    def begin(self, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        inputs: list[int] = []

        def ref(tensor: Tensor) -> ValueRef:
            inputs.append(self.known(tensor))
            return ValueRef(inputs[-1])

        refs = map_tensors(ref, (args, kwargs))
        return Node(-1, op, refs[0], refs[1], tuple(inputs), (), *self.stack[-1], False)

    def finish(self, begun: Any, out: Any, func: Any = None, *, resizer: LearnedResizer2d | None = None) -> None:
        node: Node = begun
        node.resizer = resizer
        if func is not None:
            node.pointwise, node.aliasing = torch.Tag.pointwise in func.tags, aliasing(func)
        node.index = len(self.graph.nodes)
        self.graph.nodes.append(node)
        node.outputs = tuple(self.keep_data(t, self.add(t, "op", "", ())) for t in tensors_in(out))
        annotate(self.graph, node, self.others_of(node))

    def others_of(self, node: Node) -> tuple[Shape, ...] | None:
        """Shapes of the node's outputs in the second pass, if that ran the same operation on what became of its inputs.

        Where the model's code decides by size what to run, the passes fall out of step.
        """
        inputs, outputs = self.others.get(self.place(node.op), ((), None))
        values = [self.graph.values[v] for v in node.inputs]
        same = len(inputs) == len(values) and all(
            len(shape) == len(v.dims) and all(d.other in (None, n) for d, n in zip(v.dims, shape, strict=True))
            for v, shape in zip(values, inputs, strict=False)
        )
        if outputs is not None and same:
            return outputs
        self.graph.unmatched += bool(self.others) and any(d.axes for v in values for d in v.dims)
        return None


class _Contracted:
    """Hooks on a resizer of many operations: the graph gets one node for the whole module."""

    def __init__(self, recorder: _Pass) -> None:
        self.recorder = recorder
        self.open: list[Any] = []

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        self.open.append(self.recorder.begin("dynpool.resizer", tuple(tensors), {}))
        self.recorder.hidden += 1

    def leave(self, module: LearnedResizer2d, args: tuple[Any, ...], out: Tensor) -> Tensor:
        out = torch.ops.aten.alias(out)  # a tensor of its own, should it be the input
        self.recorder.hidden -= 1
        self.recorder.finish(self.open.pop(), out, resizer=module)
        return out


def _standalone_size(
    pool: LearnedResizer2d, choose: Choose | None
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]:
    """A hook that gives a hand-placed pool its size from the real alpha, which tracing replaces by a meta tensor."""
    alphas = host_alphas([pool])[0]

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("size") is None and len(args) < 2:
            h, w = args[0].shape[-2:]
            size = pool.output_size((h, w), pool.strides(alphas)) if choose is None else choose(pool, (h, w))
            kwargs = {**kwargs, "size": size}
        return args, kwargs

    return hook


@contextmanager
def _paths(model: nn.Module, recorder: _Pass, choose: Choose | None) -> Iterator[None]:
    calls = recorder.calls

    def enter(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            here = (path, calls.get(path, 0))
            recorder.callers[here] = recorder.stack[-1]
            recorder.stack.append(here)
            calls[path] = here[1] + 1

        return hook

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        recorder.stack.pop()

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if not recorder.hidden:
                recorder.note_output(path, out)

        return hook

    handles = []
    for path, module in model.named_modules():
        if path:
            handles.append(module.register_forward_pre_hook(enter(path), prepend=True))
            # before the module's own forward hooks, so that a resize hooked behind it is not counted as part of it
            handles.append(module.register_forward_hook(leave, prepend=True))
        if isinstance(module, LearnedResizer2d):
            handles.append(module.register_forward_pre_hook(_standalone_size(module, choose), with_kwargs=True))
            if not isinstance(module, DynOPool2d):  # which is one operation anyway
                contracted = _Contracted(recorder)
                handles.append(module.register_forward_pre_hook(contracted.enter, with_kwargs=True))
                handles.append(module.register_forward_hook(contracted.leave, prepend=True))
        handles.append(module.register_forward_hook(note(path)))  # last: behind a resize that is hooked to the module
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _recurrent(model: nn.Module, recorder: _Pass) -> Iterator[None]:
    """Recurrent networks run as one operation each, not as a loop over time of which every step would be recorded."""

    def stub(module: nn.RNNBase) -> Callable[..., Any]:
        own = module.forward

        def forward(x: Any, state: Any = None) -> Any:
            if not isinstance(x, Tensor) or x.ndim != 3:  # a packed or unbatched sequence
                return own(x, state)
            out, states = recurrent_outputs(module, x)
            if not recorder.hidden:
                settings = {"bidirectional": module.bidirectional, "batch_first": module.batch_first}
                tensors = [t for t in tree_leaves((x, state)) if isinstance(t, Tensor)]
                begun = recorder.begin(f"aten.{module.mode.lower()}", (*tensors, *module.parameters()), settings)
                recorder.finish(begun, (out, states))
            return out, states

        return forward

    networks = [m for m in model.modules() if isinstance(m, nn.RNNBase) and "forward" not in vars(m)]
    for network in networks:
        vars(network)["forward"] = stub(network)
    try:
        yield
    finally:
        for network in networks:
            del vars(network)["forward"]


def _meta_state(model: nn.Module) -> Mapping[str, Tensor]:
    """A tensor without contents for each parameter and buffer, by name; one for all names of the same."""
    made: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{name or 'the model'} is a ScriptModule, which cannot be traced: give its original")
    for source in (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)):
        for name, t in source:
            if is_lazy(t):
                raise ValueError(f"{name} has no shape yet: run the {type(model).__name__} once on a real input first")
            if id(t) not in made:
                made[id(t)] = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")
            state[name] = made[id(t)]
    return state


def _put(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Let the modules of the model have these parameters and buffers."""
    for path, module in model.named_modules(remove_duplicate=False):
        for held in (module._parameters, module._buffers):
            for name, t in held.items():
                if t is not None:
                    held[name] = state[f"{path}.{name}" if path else name]


def _run(
    model: nn.Module,
    example: Inputs,
    state: Mapping[str, Tensor],
    recorder: _Pass,
    training: bool,
    choose: Choose | None = None,
) -> None:
    """One pass of `model` on meta tensors under `recorder`."""
    tree = resolution_tree(model)
    with ExitStack() as stack:
        host_alphas([m for m in model.modules() if isinstance(m, LearnedResizer2d)])  # meta tensors hold none
        stack.enter_context(untouched(model))
        without_sharding(model)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.device("cpu"))  # what is made without a device is a constant, whatever the default
        for module in model.modules():
            module.training = training
        if tree is not None:
            stack.enter_context(tree.at(check_input_size(example.size)[1:]))
        stack.enter_context(_paths(model, recorder, choose))
        stack.enter_context(_recurrent(model, recorder))
        if isinstance(recorder, _Recorder):
            parameters = dict(model.named_parameters(remove_duplicate=False))
            recorder.start(state, state.keys() - parameters.keys(), example.images)
        _put(model, state)
        stack.enter_context(recorder)
        try:
            out = model(*example.args, **example.kwargs)  # held until the recorder has seen what there is
        except Exception as error:  # whatever the model's own code raises
            raise TraceError(
                recorder.running, recorder.stack[-1][0], error, type(model).__name__, _tried(example)
            ) from error
        recorder.end()
        del out


def _tried(example: Inputs) -> str:
    """The input of the pass in words, and of how many images it was, where the caller did not give them."""
    tried = f" at input_size={example.size}"
    if example.given:
        return tried
    images = f"{example.batch} image{'s' * (example.batch > 1)}"
    return f"{tried} (a batch of {images} was tried; the argument batch sets another)"


_R = TypeVar("_R", bound=_Pass)


def _passed(make: Callable[[Inputs, bool], _R], run: Callable[[Inputs, _R], None], examples: Sequence[Inputs]) -> _R:
    """The recorder of the first example that the model runs on.

    Where the model's code compares values that a pass without data has not, both outcomes are tried, and the pass that
    executes more counts. `make` gives a recorder for an example and for what comparisons are taken to give.
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
    model: nn.Module, input_size: InputSize | None, inputs: Any, training: bool, batch: int | None
) -> list[Inputs]:
    """What the model may take: images of the dtype of its weights, or complex numbers, or indices where it has such."""
    if batch is not None and not (is_whole(batch) and batch > 0):
        raise ValueError(f"batch must be a positive int, got {batch!r}")
    tree = resolution_tree(model)
    n = batch or (tree.batch if tree is not None else None) or (2 if training else 1)
    weights = [t.dtype for t in (*model.parameters(), *model.buffers())]
    real = next((d for d in weights if d.is_floating_point), torch.float32)
    wanted = [d for d in weights if d.is_floating_point or d.is_complex][:1] or [real]
    wanted += [*[d for d in weights if d.is_complex][:1], real]
    wanted += [torch.int64] * any(isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in model.modules())
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
) -> Graph:
    """Run `model` once on meta tensors and record what executes, at no memory and without touching the model.

    Args:
        model: any module; its mode is restored afterwards.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W), or a list or dict of such for a model of several
            inputs. None: of the first tensor in `inputs`.
        inputs: what the model is to be called with (a tensor, a tuple or a dict), where sizes do not say it all.
        larger: another input size, for a second pass. What has the same size in both is a number, what varies follows
            from the input: this tells windows from how many there are, and tables from grids made for the map. Without
            it, what cannot be told apart is pinned.
        others: the shapes of such a second pass, by `trace_shapes`, over an input of the same size but with other
            learned sizes; instead of `larger`.
        choose: gives the output sizes of hand-placed resizers, instead of what their alphas say.
        training: run in training mode rather than in eval mode.
        batch: images of the pass, where `inputs` are not given. None: those that a converted model was converted
            with, else one, or two in training mode.
        every_window: let layers of stride 1 open axis classes and stand in `Graph.resizes` as well, for asking what
            another stride there would do. Classes then say which layers could change together, not which maps agree.

    Raises:
        TraceError: when the model cannot run on `inputs`, at `input_size` or at `larger`.
        ValueError: for a bad `input_size` or `inputs`, or a model that has no shapes yet or cannot be traced.
    """
    check_model(model)
    check_flags(training=training, every_window=every_window)
    model = unwrapped(model)
    state = _meta_state(model)
    shapes: Shapes = others or {}
    if larger is not None:
        shapes = trace_shapes(model, larger, training=training, batch=batch)

    def make(example: Inputs, compared: bool) -> _Recorder:
        second = None if others is None else check_input_size(example.size)
        graph = Graph(example.size, every_window=every_window, batch=example.batch)
        return _Recorder(graph, shapes, second if larger is None else check_input_size(larger), compared=compared)

    def run(example: Inputs, recorder: _Recorder) -> None:
        _run(model, example, state, recorder, training, choose)

    recorder = _passed(make, run, _examples(model, input_size, inputs, training, batch))
    recorder.graph.notes += recorder.values_read.notes()
    return recorder.graph


@torch.inference_mode(False)
def trace_shapes(
    model: nn.Module,
    input_size: Sequence[int],
    *,
    choose: Choose | None = None,
    training: bool = False,
    batch: int | None = None,
) -> Shapes:
    """The shapes that every operation and every module of a pass gives, by where it runs; cheaper than `trace`."""
    model = unwrapped(model)
    state = _meta_state(model)

    def make(example: Inputs, compared: bool) -> _Pass:
        return _Pass(compared=compared)

    def run(example: Inputs, recorder: _Pass) -> None:
        _run(model, example, state, recorder, training, choose)

    return _passed(make, run, _examples(model, check_input_size(input_size), None, training, batch)).shapes


def trace_compared(
    model: nn.Module, input_size: Sequence[int], *, training: bool = False, batch: int | None = None
) -> Graph:
    """`trace` with a second pass over an input of twice the height and three times the width, or of twice both.

    A model that cannot run at a larger size is traced without.
    """
    c, h, w = check_input_size(input_size)
    for larger in ((c, 2 * h, 3 * w), (c, 2 * h, 2 * w)):
        try:
            return trace(model, input_size, larger=larger, training=training, batch=batch)
        except ValueError:
            continue  # a model for one size, or for square inputs; at its own size it is traced below
    return trace(model, input_size, training=training, batch=batch)
