"""Records a forward pass on meta tensors, with the module of each operation, without memory or changes to the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dynpool.resizers import DynOPoolAxes, LearnedResizer, host_alphas, host_extents, learned_alphas, learned_kernels
from dynpool.resolution import resolution_tree, without_sharding
from dynpool.size_math import Size

from .errors import TraceError
from .inputs import Inputs, without_batch
from .meta.arguments import bind
from .meta.containers import tensors_in
from .meta.data_dependent import recurrent_outputs
from .meta.run import Constants, run_on_meta
from .meta.values_read import ValuesRead
from .record import Place, Shape
from .snapshot import untouched

__all__ = ["RETURNS", "Choose", "ForwardPass", "meta_state", "run_pass"]

RETURNS = "returns"  # in the place of an operation: what a call of a module returns
Choose = Callable[[LearnedResizer[Any], Size], Size]  # the output size of a hand-placed resizer for that of its input


class ForwardPass(TorchDispatchMode):
    """Tracks which module runs during a forward pass on meta tensors, and records the shapes of every operation."""

    def __init__(self, *, compared: bool = True, strict: bool = True) -> None:
        super().__init__()
        self.strict = strict
        self.values_read = ValuesRead(compared=compared)
        self.executed = 0
        self.running = ""  # the operation that runs
        self.calls: dict[str, int] = {}
        self.callers: dict[tuple[str, int], tuple[str, int]] = {}
        self.classes_of: dict[str, str] = {}
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
        begun = None if self.hidden else self.begin(self.running, bind(func, args, kwargs))
        out = run_on_meta(func, args, kwargs, self.constants, strict=self.strict)
        self.executed += 1
        self.values_read.note(name, out)
        if begun is not None:
            self.finish(begun, out, func)
        self.running = ""
        return out

    def place(self, op: str) -> Place:
        """The position of the operation in the pass; called once for each operation."""
        path, call = self.stack[-1]
        k = self._count[path, call, op] = self._count.get((path, call, op), -1) + 1
        return (path, call, op, k)

    def note_output(self, path: str, out: Any) -> None:
        """Record the shapes that a module returns, after any hooked resize, as the operation `RETURNS`."""
        k = self._count[path, 0, RETURNS] = self._count.get((path, 0, RETURNS), -1) + 1
        self.shapes[path, k, RETURNS, 0] = (
            (),
            tuple(tuple(t.shape) for t in tree_leaves(out) if isinstance(t, Tensor)),
        )

    def start(self, state: Mapping[str, Tensor], buffers: set[str], images: Sequence[Tensor]) -> None:
        """Called before the pass, with parameters and buffers by name and the inputs."""

    def end(self) -> None:
        """Called after the pass, while its outputs are still alive."""

    def begin(self, op: str, arguments: dict[str, Any]) -> Any:
        """Called before an operation runs; the result is passed on to the call after it."""
        return self.place(op), _shapes(arguments)

    def finish(self, begun: Any, out: Any, func: Any = None, *, resizer: LearnedResizer[Any] | None = None) -> None:
        """Called with the output of an operation; `func` is the ATen operation, if it is one."""
        place, inputs = begun
        self.shapes[place] = (inputs, _shapes(out))


def _shapes(values: Any) -> tuple[Shape, ...]:
    return tuple(tuple(t.shape) for t in tensors_in(values))


class _Contracted:
    """Hooks on a resizer of many operations: the graph gets one node for the whole module."""

    def __init__(self, recorder: ForwardPass) -> None:
        self.recorder = recorder
        self.open: list[Any] = []

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        self.open.append(self.recorder.begin("dynpool.resizer", {"maps": tensors}))
        self.recorder.hidden += 1

    def leave(self, module: LearnedResizer[Any], args: tuple[Any, ...], out: Tensor) -> Tensor:
        out = torch.ops.aten.alias(out)  # a tensor of its own, should it be the input
        self.recorder.hidden -= 1
        self.recorder.finish(self.open.pop(), out, resizer=module)
        return out


def _standalone_size(
    resizer: LearnedResizer[Any], choose: Choose | None
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]:
    """A hook that gives a hand-placed resizer its size from the real alpha, which tracing replaces by a meta tensor."""
    alphas = host_alphas([resizer])[0]

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("size") is None and len(args) < 2:
            given = tuple(args[0].shape[-resizer.axes :])
            size = resizer.output_size(given, resizer.strides(alphas)) if choose is None else choose(resizer, given)
            kwargs = {**kwargs, "size": size}
        return args, kwargs

    return hook


@contextmanager
def _paths(model: nn.Module, recorder: ForwardPass, choose: Choose | None) -> Iterator[None]:
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
        recorder.classes_of[path] = type(module).__name__
        if path:
            handles.append(module.register_forward_pre_hook(enter(path), prepend=True))
            # before the module's own forward hooks, so that a resize hooked behind it is not counted as part of it
            handles.append(module.register_forward_hook(leave, prepend=True))
        if isinstance(module, LearnedResizer):
            handles.append(module.register_forward_pre_hook(_standalone_size(module, choose), with_kwargs=True))
            if not isinstance(module, DynOPoolAxes):  # which is one operation anyway
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
def _recurrent(model: nn.Module, recorder: ForwardPass) -> Iterator[None]:
    """Runs each recurrent network as one operation, not as a loop whose every time step would be recorded."""

    def stub(module: nn.RNNBase) -> Callable[..., Any]:
        own = module.forward

        def forward(x: Any, state: Any = None) -> Any:
            if not isinstance(x, Tensor) or x.ndim != 3:  # a packed or unbatched sequence
                return own(x, state)
            out, states = recurrent_outputs(module, x)
            if not recorder.hidden:
                arguments = {
                    "input": x,
                    "states": [t for t in tree_leaves(state) if isinstance(t, Tensor)],
                    "parameters": list(module.parameters()),
                    "bidirectional": module.bidirectional,
                    "batch_first": module.batch_first,
                }
                begun = recorder.begin(f"aten.{module.mode.lower()}", arguments)
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


def meta_state(model: nn.Module) -> Mapping[str, Tensor]:
    """A meta tensor for each parameter and buffer, by name; names of one shared tensor get the same meta tensor."""
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
    """Replace the parameters and buffers of the model's modules by these."""
    for path, module in model.named_modules(remove_duplicate=False):
        for held in (module._parameters, module._buffers):
            for name, t in held.items():
                if t is not None:
                    held[name] = state[f"{path}.{name}" if path else name]


def run_pass(
    model: nn.Module,
    example: Inputs,
    state: Mapping[str, Tensor],
    recorder: ForwardPass,
    training: bool,
    choose: Choose | None = None,
) -> None:
    """One pass of `model` on meta tensors under `recorder`."""
    tree = resolution_tree(model)
    with ExitStack() as stack:
        host_alphas(list(learned_alphas(model).values()))  # meta tensors hold none
        host_extents(list(learned_kernels(model).values()))
        stack.enter_context(untouched(model))
        without_sharding(model)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.device("cpu"))  # what is made without a device is a constant, whatever the default
        for module in model.modules():
            module.training = training
        if tree is not None:
            stack.enter_context(tree.at(example.size[1:]))
        stack.enter_context(_paths(model, recorder, choose))
        stack.enter_context(_recurrent(model, recorder))
        parameters = dict(model.named_parameters(remove_duplicate=False))
        recorder.start(state, state.keys() - parameters.keys(), example.images)
        _put(model, state)
        stack.enter_context(recorder)
        try:
            out = model(*example.args, **example.kwargs)  # held until the recorder has seen what there is
        except Exception as error:  # whatever the model's own code raises
            path = recorder.stack[-1][0]
            hint = _hint(model, path, example)
            raise TraceError(recorder.running, path, error, type(model).__name__, _tried(example), hint) from error
        recorder.end()
        del out


def _hint(model: nn.Module, path: str, example: Inputs) -> str:
    """What may be wrong with the input: arguments that are missing, or the number of channels."""
    try:
        inspect.signature(model.forward).bind(*example.args, **example.kwargs)
    except TypeError:
        return "" if example.given else "; give all arguments of its forward as inputs=(...)"
    except ValueError:  # a builtin function tells no signature
        return ""
    layer = model.get_submodule(path)
    channels = getattr(layer, "in_channels", None)
    first = next((name for name, m in model.named_modules() if hasattr(m, "in_channels")), None)
    if path == first and isinstance(channels, int) and channels != example.size[0]:
        return f"; {path} takes {channels} channel{'s' * (channels > 1)}, and input_size begins with {example.size[0]}"
    return ""


def _tried(example: Inputs) -> str:
    """A description of the input of the pass, with the number of images unless the caller gave it."""
    tried = f" at input_size={example.size}{without_batch(example.size)}"
    if example.given:
        return tried
    images = f"{example.batch} image{'s' * (example.batch > 1)}"
    return f"{tried} (tried with a batch of {images})"
