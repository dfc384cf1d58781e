"""A description of a model's conversion in the metadata of its state dict, checked when that is loaded.

The metadata of a state dict (`state_dict._metadata`) is kept by torch.save, but not by a plain dict, a comprehension or
safetensors. A frozen model inside another module also has its sizes as a tensor in the state dict.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from dynpool.common.version import __version__

from .frozen import frozen_sizes
from .nodes import Learned, Pinned
from .saved_alphas import ENTRY, FROZEN_ALPHAS, from_bits
from .stride_forms import ResizeAfter
from .tree import ResolutionTree, resolution_tree

__all__ = ["PACKAGES", "attach_description", "description_of", "differences", "dotted", "without_module"]

PACKAGES = ("dynpool", "baselines", "analysis")  # of this library, the latter two in dynpool

_RENAMED = {f"dynpool.{name}2d": f"dynpool.{name}" for name in ("FollowPool", "FollowInterpolate")}  # since 0.1
_GIVEN = ("strides", "alpha", "reduce", "bounds", "tied_to")  # arguments that convert passes itself


def attach_description(model: nn.Module, tree: ResolutionTree, by: str, arguments: Mapping[str, Any]) -> None:
    """Add a description of its conversion to the state dict of a model.

    Args:
        model: the converted model.
        tree: its resolutions.
        by: dotted name of the function that converted it.
        arguments: arguments of that function except the model and the input size: numbers, strings and lists of them.
    """
    first = tree.owners[0]
    accepted = inspect.signature(type(first)).parameters.keys() - set(_GIVEN)
    described = {
        "version": __version__,
        "by": by,
        "model": dotted(type(model)),
        "input_size": tree.input_size,
        "arguments": dict(arguments),
        "pool": dotted(type(first)),
        "options": {name: value for name, value in _settings(first).items() if name in accepted},
        "places": dict(_places(model, tree)),
    }
    tree.description = json.loads(json.dumps(described))
    model.register_state_dict_post_hook(_describe)
    model.register_load_state_dict_pre_hook(_compare)


def description_of(model: nn.Module) -> dict[str, Any] | None:
    """The description of a converted or frozen model as plain containers; None if it has none."""
    frozen = frozen_sizes(model)
    tree = resolution_tree(model) if frozen is None else frozen.tree
    if tree is None or tree.description is None:
        return None
    return {**tree.description, "frozen": frozen is not None}


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """The differences between two conversions; empty if the same weights and alphas compute the same in both."""
    if _same_places(saved.get("places", {}), own["places"]):
        return []
    names = ("by", "pool", "options", "input_size", "model")
    saved = {**saved, **{name: without_module(str(saved[name])) for name in ("pool", "model") if name in saved}}
    sides = [{**{name: one.get(name) for name in names}, **one.get("arguments", {})} for one in (saved, own)]
    found = [
        f"{name} is {sides[0].get(name)!r} in the state dict and {sides[1].get(name)!r} here"
        for name in dict.fromkeys((*sides[1], *sides[0]))
        if sides[0].get(name) != sides[1].get(name) and name != "max_gmacs"
    ]
    return found or [f"version is {saved.get('version')!r} in the state dict and {own['version']!r} here"]


def dotted(kind: type) -> str:
    """package.module.Name; for a class of this library package.Name, as it may move within its package."""
    return without_module(f"{kind.__module__}.{kind.__qualname__}")


def without_module(name: str) -> str:
    """The result of :func:`dotted` for a full dotted name, which may be that of an earlier version."""
    inner = name.removeprefix("dynpool.")
    name = inner if inner.startswith(PACKAGES[1:]) else name
    package = name.partition(".")[0]
    return f"{package}.{name.rpartition('.')[2]}" if package in PACKAGES else name


def _settings(resizer: nn.Module) -> dict[str, Any]:
    """The public attributes of a resizer that are plain values: the arguments that it was made with."""
    plain = (bool, int, float, str, tuple, type(None))
    return {
        name: value
        for name, value in vars(resizer).items()
        if not name.startswith("_") and name != "training" and isinstance(value, plain)
    }


def _places(model: nn.Module, tree: ResolutionTree) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each resizer does, by its module path, apart from the values of alphas."""
    for path, slot in tree.slots.items():
        resizer = model.get_submodule(path)
        owner = model.get_submodule(path.rpartition(".")[0])
        after = next((hook for hook in owner._forward_hooks.values() if isinstance(hook, ResizeAfter)), None)
        node = tree.nodes[slot.resolution]
        place: dict[str, Any] = {
            "resolution": node.name,
            "parent": None if node.parent is None else tree.nodes[node.parent].name,
            "fixed": node.rule.size if isinstance(node.rule, Pinned) else None,
            "multiple_of": node.rule.multiple if isinstance(node.rule, Learned) else (1,) * len(slot.offset),
            "offset": slot.offset,
            "multiple": slot.multiple,
            "after": None if after is None else [after.start, after.end],
            "kind": dotted(type(resizer)),
            "settings": _settings(resizer),
        }
        yield path, place


def _same_places(saved: Any, own: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether all entries that both sides have are equal; later versions may have more."""
    if not isinstance(saved, Mapping) or saved.keys() != own.keys():
        return False
    if not all(isinstance(place, Mapping) for place in saved.values()):
        return False
    return all(_agree({**saved[path], "kind": _kind(saved[path])}, place) for path, place in own.items())


def _kind(saved: Mapping[str, Any]) -> str:
    kind = without_module(str(saved.get("kind", "")))
    return _RENAMED.get(kind, kind)


def _agree(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(_agree(a[key], b[key]) for key in a.keys() & b.keys())
    return bool(a == b)


# ----------------------------------------------------------------------------------------------- hooks of a state dict


def _describe(model: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any]) -> None:
    """State dict hook: add the description after saving."""
    found = description_of(model)
    if found is None:
        return
    if found["frozen"] and not prefix:  # by itself it has the entries of the original model, and loads there
        found["alphas"] = from_bits(state_dict.pop(FROZEN_ALPHAS)).tolist()
    local_metadata[ENTRY] = found


def _compare(
    model: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
) -> None:
    """State dict pre-hook: compare descriptions before loading; raises before anything is changed."""
    saved, own = local_metadata.get(ENTRY), description_of(model)
    if not isinstance(saved, Mapping) or own is None:
        return
    found = differences(saved, own)
    if found:
        raise RuntimeError(
            f"the state dict is of another conversion of {prefix.rstrip('.') or 'the model'}, in which its weights "
            f"compute something else: {'; '.join(found)}. dynpool.load, without conversion=, rebuilds the model as it "
            "says"
        )
