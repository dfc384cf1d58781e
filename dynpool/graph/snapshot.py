"""Restores a model and the process after a pass, whatever the model's own code changed.

All mutable state that can be reached from the model is saved before the pass and restored afterwards: attributes,
containers, caches, hooks, closures, class attributes, random states, modes. Only containers are copied (shallowly),
never tensors: passes on meta tensors do not write to real ones.
"""

from __future__ import annotations

import copy
import functools
import random
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["deep_copy", "untouched"]

Restore = Callable[[], None]
T = TypeVar("T")

_PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, range, slice}
)
_CONTAINERS = (dict, list, set, deque, bytearray)
# what a pass does not change, though a model may lead to it: data, optimisers, and what belongs to the system
_BEYOND = (torch.utils.data.Dataset, torch.utils.data.DataLoader, torch.optim.Optimizer, types.ModuleType, type)
_KEEP_NOTHING = frozenset("torch numpy builtins abc typing functools collections dynpool analysis baselines".split())
_BEYOND_PACKAGES = frozenset(
    "lightning pytorch_lightning logging threading multiprocessing asyncio _thread _io".split()
)


class _Snapshot:
    """The saved state; `alive` keeps every visited object alive, so that ids stay unique."""

    def __init__(self) -> None:
        self.restores: list[Restore] = []
        self.empty: list[Any] = []
        self.alive: dict[int, Any] = {}
        self.pending: list[Any] = []

    def take(self, root: Any) -> None:
        """Save everything that can be reached from `root`."""
        self.pending.append(root)
        while self.pending:
            thing = self.pending.pop()
            if type(thing) in _PLAIN or id(thing) in self.alive:
                continue
            self.alive[id(thing)] = thing
            self.note(thing)

    def note(self, thing: Any) -> None:
        if isinstance(thing, Tensor):
            self.note_tensor(thing)
        elif isinstance(thing, _CONTAINERS):
            self.note_container(thing)
            if type(thing) not in (dict, list, set):
                self.note_attributes(thing)
        elif isinstance(thing, (tuple, frozenset)):
            self.pending.extend(thing)
            self.note_attributes(thing)
        elif isinstance(thing, types.FunctionType):
            self.note_function(thing)
        elif isinstance(thing, types.MethodType):
            self.pending += [thing.__self__, thing.__func__]
        elif isinstance(thing, functools.partial):
            self.pending += [thing.func, thing.args, thing.keywords]
        elif isinstance(thing, functools._lru_cache_wrapper):
            self.note_memo(thing)
        elif isinstance(thing, types.CellType):
            self.note_cell(thing)
        elif isinstance(thing, np.ndarray):
            self.note_array(thing)
        elif isinstance(thing, torch.Generator):
            state = thing.get_state()
            self.restores.append(lambda: _set_state(thing, state))
        elif isinstance(thing, random.Random):
            numbers = thing.getstate()
            self.restores.append(lambda: thing.setstate(numbers))
        elif isinstance(thing, np.random.Generator):
            bits = thing.bit_generator.state
            self.restores.append(lambda: setattr(thing.bit_generator, "state", bits))
        elif not isinstance(thing, _BEYOND) and not _beyond(type(thing)):
            self.note_attributes(thing)
            self.note_class(type(thing))

    def note_tensor(self, t: Tensor) -> None:
        """Save a tensor's gradient and `requires_grad`; a pass on meta tensors does not write to its data."""
        if t.is_leaf:
            wanted, grad = t.requires_grad, t.grad
            self.pending.append(grad)

            def restore() -> None:
                if t.requires_grad != wanted:
                    t.requires_grad_(wanted)
                if t.grad is not grad:
                    t.grad = grad

            self.restores.append(restore)
        if type(t) not in (Tensor, nn.Parameter):
            self.note_attributes(t)

    def note_container(self, thing: Any) -> None:
        if not thing:  # as most of a module's containers of hooks are
            self.empty.append(thing)
        elif isinstance(thing, dict):
            self.note_dict(thing, OrderedDict if isinstance(thing, OrderedDict) else dict)
        else:
            self.note_items(thing)

    def note_dict(self, thing: Any, kind: Any) -> None:
        keys, values = list(kind.keys(thing)), list(kind.values(thing))
        self.pending += [v for v in values if type(v) not in _PLAIN]
        self.pending += [k for k in keys if type(k) not in _PLAIN]

        def restore() -> None:
            if not (_same(kind.keys(thing), keys) and _same(kind.values(thing), values)):
                kind.clear(thing)
                for key, value in zip(keys, values, strict=True):
                    kind.__setitem__(thing, key, value)

        self.restores.append(restore)

    def note_items(self, thing: Any) -> None:
        """Save a list, set, deque or bytearray."""
        held = list(thing)
        self.pending += [v for v in held if type(v) not in _PLAIN]

        def restore() -> None:
            if isinstance(thing, set):
                if thing != set(held):
                    thing.clear()
                    thing.update(held)
            elif not _same(thing, held):
                thing.clear()
                thing.extend(held)

        self.restores.append(restore)

    def note_attributes(self, thing: Any) -> None:
        if getattr(type(thing), "_only_read", False):
            return
        held = getattr(thing, "__dict__", None)
        if isinstance(held, dict):
            self.pending.append(held)
        for slot in _slots(cast("Hashable", type(thing))):  # mypy takes a type's __hash__ for its instances'
            self.note_place(functools.partial(_read_slot, slot, thing), slot, thing)

    def note_place(self, read: Callable[[], Any], slot: Any, thing: Any) -> None:
        before = read()
        self.pending.append(before)

        def restore() -> None:
            if read() is before:
                return
            if before is _EMPTY:
                slot.__delete__(thing)
            else:
                slot.__set__(thing, before)

        self.restores.append(restore)

    def note_cell(self, cell: types.CellType) -> None:
        before = _contents(cell)
        self.pending.append(before)

        def restore() -> None:
            if _contents(cell) is before:
                return
            if before is _EMPTY:
                del cell.cell_contents
            else:
                cell.cell_contents = before

        self.restores.append(restore)

    def note_function(self, function: types.FunctionType) -> None:
        """Save a function's closure, its defaults, and the containers among the globals that it uses."""
        self.pending += [*(function.__closure__ or ()), function.__defaults__, function.__kwdefaults__]
        self.pending.append(function.__dict__)
        if _keeps_nothing(function.__module__):
            return
        names = set(_names(function.__code__)) & function.__globals__.keys()
        self.note_names(function.__globals__, names)

    def note_class(self, kind: type) -> None:
        """Save the attributes of classes outside PyTorch, such as caches shared by all instances."""
        for base in kind.__mro__:
            if _keeps_nothing(base.__module__) or id(base) in self.alive:
                continue
            self.alive[id(base)] = base
            held = {k: v for k, v in vars(base).items() if not (k.startswith("__") and k.endswith("__"))}
            self.pending += [
                v for v in held.values() if isinstance(v, (types.FunctionType, functools._lru_cache_wrapper))
            ]
            self.pending += [v.__func__ for v in held.values() if isinstance(v, (staticmethod, classmethod))]
            self.pending += [f for v in held.values() if isinstance(v, property) for f in (v.fget, v.fset)]
            self.note_names(held, held.keys(), base)

    def note_names(self, names: dict[str, Any], which: Any, owner: type | None = None) -> None:
        """Save the names of a module or class; containers are saved with their content."""
        before = {name: names[name] for name in which}
        for value in before.values():
            if isinstance(value, (*_CONTAINERS, Tensor, np.ndarray, functools._lru_cache_wrapper)):
                self.pending.append(value)

        def restore() -> None:
            now = names if owner is None else vars(owner)
            for name, value in before.items():
                if now.get(name, _EMPTY) is value:
                    continue
                if owner is None:
                    names[name] = value
                else:
                    setattr(owner, name, value)
            if owner is not None:
                for name in [n for n in now if n not in before and not (n.startswith("__") and n.endswith("__"))]:
                    delattr(owner, name)

        self.restores.append(restore)

    def note_memo(self, memo: Any) -> None:
        """Clear a cache of results afterwards if a pass on meta tensors has added to it."""
        before = memo.cache_info()
        self.pending.append(memo.__wrapped__)

        def restore() -> None:
            if memo.cache_info().misses != before.misses:
                memo.cache_clear()

        self.restores.append(restore)

    def note_array(self, array: np.ndarray) -> None:
        if array.dtype.hasobject:
            self.pending += array.ravel().tolist()
        if array.flags.writeable:
            before = array.copy()
            self.restores.append(lambda: array.__setitem__(..., before))

    def restore(self) -> None:
        for container in self.empty:
            if container:
                container.clear()
        for put_back in reversed(self.restores):
            put_back()


_EMPTY = object()


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _EMPTY


def _read_slot(slot: Any, thing: Any) -> Any:
    try:
        return slot.__get__(thing)
    except AttributeError:
        return _EMPTY


@functools.cache
def _slots(kind: type) -> tuple[types.MemberDescriptorType, ...]:
    """The `__slots__` of a type and its bases."""
    return tuple(
        place for base in kind.__mro__ for place in vars(base).values() if isinstance(place, types.MemberDescriptorType)
    )


def _same(now: Any, before: list[Any]) -> bool:
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _keeps_nothing(module: str | None) -> bool:
    """Whether a package is known to keep no state in its classes and globals that a pass could change."""
    return (module or "torch").partition(".")[0] in _KEEP_NOTHING


def _beyond(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _BEYOND_PACKAGES


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _process_state() -> Restore:
    """Random states and modes of the process."""
    numbers, arrays, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    dtype, device, grad = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    casts = {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}
    cached = torch.is_autocast_cache_enabled()

    def restore() -> None:
        random.setstate(numbers)
        np.random.set_state(arrays)
        torch.set_rng_state(cpu)
        torch.set_grad_enabled(grad)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        if torch.are_deterministic_algorithms_enabled() != deterministic[0]:
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        for kind, (enabled, precision) in casts.items():
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, precision)
        torch.set_autocast_cache_enabled(cached)

    return restore


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Context manager that restores everything the model's code changes, except writes to tensors."""
    process, snapshot = _process_state(), _Snapshot()
    snapshot.take(model)
    try:
        yield
    finally:
        try:
            snapshot.restore()
            process()
        except KeyboardInterrupt:  # such as a second Ctrl-C: finish restoring all the same
            snapshot.restore()
            process()
            raise


def deep_copy(model: T, memo: dict[int, Any] | None = None) -> T:
    """A deep copy of a model, or of a tuple with one, that may store results of earlier passes.

    `copy.deepcopy` raises for such non-leaf tensors; here they are copied detached. `memo` maps ids to the objects to
    use instead of copies.
    """
    snapshot = _Snapshot()
    snapshot.take(model)
    computed = [t for t in snapshot.alive.values() if isinstance(t, Tensor) and not t.is_leaf]
    return copy.deepcopy(model, {id(t): t.detach().clone() for t in computed} | (memo or {}))
