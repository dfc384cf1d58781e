"""Layers that run several times in a pass: one copy per call if they have no state, else one resolution for all calls.

A pool that a model calls several times (`self.pool(...)` after each convolution) resizes several resolutions. It has no
state, so each call gets its own module, `pool.0`, `pool.1`, ... in order of the calls. A pool that is registered under
several names becomes one module per name. A layer with weights cannot be copied: its runs share a resolution if they
start from the same one, else it is left alone.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from dynpool.graph import Graph
from dynpool.size_math import Size

from .functional_calls import Running, running_in, watch
from .layer_context import places
from .rewrite import replace_module
from .size_groups import Key, source_key, target_key

__all__ = ["CalledInTurn", "separate_names", "split_calls", "unite_runs", "where_called"]

Call = tuple[str, int]  # the module that calls, by its path, and how many earlier calls of the layer its forward made


class CalledInTurn(nn.Module):
    """A layer without state that is called several times in a pass, as one module for each of these calls.

    Args:
        layer: the original layer, which any other call still runs.
        calls: in order; their modules are named "0", "1", ...
        running: the modules that run, by which a call is recognised.
    """

    def __init__(self, layer: nn.Module, calls: list[Call], running: Running) -> None:
        super().__init__()
        self.calls = {call: str(k) for k, call in enumerate(calls)}
        self.running = running
        for name in self.calls.values():
            self.add_module(name, _copied(layer))
        self.add_module("other", layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        call = self.running.call_of(self)
        if call is None:
            callers = ", ".join(sorted({repr(path) if path else "the model" for path, _ in self.calls}))
            raise RuntimeError(
                f"the layer has its own size in each of {len(self.calls)} calls, made by {callers}; this call was made "
                "elsewhere, so its size is unknown: call the layer through the converted model"
            )
        return self.get_submodule(self.calls.get(call, "other"))(*args, **kwargs)


def _copied(layer: nn.Module) -> nn.Module:
    """A copy of a module without state, hooks included."""
    new = copy.copy(layer)
    vars(new).update({name: value.copy() for name, value in vars(layer).items() if isinstance(value, dict)})
    return new


def _stateless(module: nn.Module) -> bool:
    return not any(True for _ in (*module.parameters(), *module.buffers(), *module.children()))


def separate_names(model: nn.Module, known: Callable[[nn.Module], bool]) -> bool:
    """Give resizers without state that are registered several times one module per name; returns whether it found any.

    Args:
        model: changed in place.
        known: whether a module is a resizer as a whole.
    """
    seen: set[int] = set()
    found = False
    for owner in list(model.modules()):
        for name, child in list(owner._modules.items()):
            if child is None or not _stateless(child) or not known(child):
                continue
            if id(child) in seen:
                owner.register_module(name, _copied(child))
                found = True
            seen.add(id(child))
    return found


def split_calls(model: nn.Module, graph: Graph, known: Callable[[nn.Module], bool]) -> bool:
    """Give each call of a resizer without state that runs at several resolutions a module; returns whether any does.

    Args:
        model: changed in place.
        graph: its trace.
        known: whether a module is a resizer as a whole.
    """
    modules = dict(model.named_modules())
    unite_runs(graph)
    found = False
    for path, runs in _resolutions(graph).items():
        layer = modules[path]
        if len(set(runs.values())) < 2 or not known(layer) or not _stateless(layer):
            continue
        at = _callers(graph, path)
        calls = list(dict.fromkeys(at[call] for call in runs))
        if len(calls) < 2:
            continue
        for caller, _ in calls:
            watch(modules[caller], running_in(model), caller)
        replace_module(modules, path, CalledInTurn(layer, calls, running_in(model)).train(layer.training))
        watch(modules[path], running_in(model))
        found = True
    return found


def _resolutions(graph: Graph) -> dict[str, dict[int, tuple[Key | None, Size, Size, Key | None]]]:
    """Of each layer that resizes once in a call: from where to where it does, call by call."""
    found: dict[str, dict[int, tuple[Key | None, Size, Size, Key | None]]] = {}
    for r in graph.resizes:
        at = (source_key(graph, r), r.in_size, r.out_size, target_key(graph, r))
        found.setdefault(r.path, {})[r.call] = at
    return found


def _callers(graph: Graph, path: str) -> dict[int, Call]:
    """By number of the call of a layer in the whole pass."""
    count: Counter[tuple[str, int]] = Counter()
    found: dict[int, Call] = {}
    for call in range(graph.calls[path]):
        caller = graph.callers[path, call]
        found[call] = (caller[0], count[caller])
        count[caller] += 1
    return found


def where_called(graph: Graph, path: str) -> str:
    """The calls of a layer that resizes, each with its caller and input sizes, as text."""
    runs: Mapping[int, Size] = {r.call: r.in_size for r in graph.resizes if r.path == path}
    said = [
        (f"in {graph.callers[path, call][0] or 'the model'} " if path else "") + f"on {'x'.join(map(str, size))} pixels"
        for call, size in runs.items()
    ]
    return ", ".join(said[:4]) + (f" and {len(said) - 4} more" if len(said) > 4 else "")


def unite_runs(graph: Graph) -> None:
    """Unite what the runs of one layer lead to wherever they start from one resolution, at one size."""
    first: dict[tuple[Any, ...], Key] = {}
    for (*_, k), r in places(graph):
        source, target = source_key(graph, r), target_key(graph, r)
        if r.fixed or r.given or source is None or target is None:
            continue
        for a, b in zip(first.setdefault((r.path, r.kind, k, source, r.in_size), target), target, strict=True):
            graph.classes.unite(a, b)
