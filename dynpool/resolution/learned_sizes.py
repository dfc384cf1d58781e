"""List, bound, set and optimise the learned sizes of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dynpool.common.arguments import check_model, check_numbers, is_whole
from dynpool.common.names import nearest
from dynpool.resizers import (
    constrain_kernels,
    constrain_resizers,
    host_alphas,
    learned_alphas,
    learned_kernels,
    set_alpha,
)
from dynpool.size_math import PerAxis, Size, axes_text

from .tree import ResolutionTree, converted_model, resolution_tree

__all__ = ["Resolution", "checked_sizes", "constrain", "parameter_groups", "resolutions", "set_tree_sizes"]


@dataclass(frozen=True)
class Resolution:
    """One learned resolution: `alpha` (the learned strides, float32, a number for each axis), `parent`, `size`.

    Axes are (height, width), (length,) for sequences, (depth, height, width) for volumes. `parent` is the name of the
    resolution it is resized from ("input": the model's input). `size` is that in pixels in the last pass, or at the
    conversion's input size if there was none; None for a hand-placed resizer.
    """

    name: str
    alpha: nn.Parameter
    parent: str | None
    size: Size | None


def resolutions(model: nn.Module) -> dict[str, Resolution]:
    """The learned resolutions of a model by name (the module path of the layer that opens each), input to output.

    For a wrapper, those of the converted model in it, with their names in that model.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: if the model has no learned resolution, or holds several converted models.
    """
    check_model(model)
    model = converted_model(model)
    tree = resolution_tree(model)
    if tree is not None:
        nodes, sizes = tree.nodes, tree.sizes
        return {
            nodes[i].name: Resolution(nodes[i].name, resizer.shared_alpha(), nodes[nodes[i].parent or 0].name, sizes[i])
            for i, _, resizer in tree.learned
        }
    owners = learned_alphas(model)
    by_hand = {name: Resolution(name, resizer.shared_alpha(), None, None) for name, resizer in owners.items()}
    if not by_hand:
        raise ValueError(f"{type(model).__name__} has no learned resolution: convert it, or place a resizer in it")
    return by_hand


def constrain(model: nn.Module, *, trust: float | None = None) -> None:
    """Bring every alpha of `model`, and what determines learned kernels, back into its bounds after an optimiser step.

    It reads all alphas in one copy, if one has changed, and writes back only those that must change: NaN and infinity
    become the last accepted value, a step beyond the trust region (relative change of a size, default 0.1) is cut, and
    the ceiling on GMACs of `convert(..., max_gmacs=...)` is enforced. Gradients are not changed. A converted model also
    does this before its next pass, except for the trust region, so loaded or hand-written alphas are not cut.

    Args:
        model: a converted model, one with hand-placed resizers, or a module that contains any number of these. Other
            modules are not changed.
        trust: largest relative change of an alpha since the last call; None keeps the model's.

    Raises:
        ValueError: if `trust` is not positive.
    """
    check_model(model)
    if trust is not None:
        check_numbers("a positive number", lambda n: n > 0, trust=trust)
    trees = [tree for m in model.modules() if (tree := resolution_tree(m)) is not None]
    for tree in trees:
        tree.trust = tree.trust if trust is None else trust
        tree.constrain()
    done = {id(resizer) for tree in trees for resizer in tree.owners}
    others = [r for r in learned_alphas(model).values() if id(r) not in done]
    constrain_resizers(others, trust=0.1 if trust is None else trust)
    constrain_kernels(list(learned_kernels(model).values()))


def set_tree_sizes(tree: ResolutionTree, sizes: Mapping[str, Size]) -> None:
    """Set the alphas of a tree so that its resolutions have the given sizes: see :func:`dynpool.set_sizes`."""
    learned = {tree.nodes[i].name: rule for i, rule, _ in tree.learned}
    for name, size in checked_sizes(sizes, dict.fromkeys(learned, len(tree.input_size) - 1)).items():
        if learned[name].admit(size) != size:
            raise ValueError(f"sizes[{name!r}] must be {learned[name].admitted()}, got {size!r}")
    bounds = [resizer.bounds for resizer in tree.owners]
    try:
        values = _values_at(tree, sizes)
    except ValueError:
        for resizer, before in zip(tree.owners, bounds, strict=True):
            resizer.bounds = before
        raise
    for resizer, alpha in zip(tree.owners, values, strict=True):
        set_alpha(resizer, alpha)
    tree.accept()


def checked_sizes(sizes: object, known: Mapping[str, int]) -> dict[str, Size]:
    """Sizes that a user gives for resolutions, as tuples; `known` has the number of axes of each, by name.

    Raises:
        TypeError: if it is not a dict.
        ValueError: for an unknown name, or a size that is not an int of at least 2 pixels for each axis.
    """
    if not isinstance(sizes, Mapping):
        raise TypeError(f"sizes must be a dict {{name: {axes_text(max(known.values(), default=2))}}}, got {sizes!r}")
    for name, size in sizes.items():
        if name not in known:
            raise ValueError(f"sizes names an unknown resolution {name!r}{nearest(str(name), known)}")
        each = isinstance(size, (tuple, list)) and len(size) == known[name] and all(map(is_whole, size))
        if not each or min(size) < 2:
            allowed = f"{axes_text(known[name])}, ints of at least 2 pixels"
            raise ValueError(f"sizes[{name!r}] must be {allowed}, got {size!r}")
    return {name: tuple(size) for name, size in sizes.items()}


def _values_at(tree: ResolutionTree, sizes: Mapping[str, Size]) -> list[PerAxis]:
    """The values of all alphas at which resolutions have the given sizes; widens bounds.

    Raises:
        ValueError: if a size cannot be reached, or the sizes exceed the ceiling on GMACs.
    """
    values = host_alphas(tree.owners)
    hw = tree.input_size[1:]
    for k, (i, _, resizer) in enumerate(tree.learned):  # parents first, so that each parent already has its wanted size
        name = tree.nodes[i].name
        if name not in sizes:
            continue
        want = sizes[name]
        values[k] = resizer.values_for(tree.resizer_input_size(i, hw, values), want)
        resizer.make_room(resizer.strides(values[k]))
        values[k] = resizer.checked(values[k])
        found = tree.sizes_at(hw, values)[i]
        if found != tuple(want):
            raise ValueError(f"sizes[{name!r}]={want!r} cannot be reached: the nearest alpha gives {found}")
    if tree.ceiling is not None and not tree.ceiling.allows(values):
        cost, most = (f"{macs / 1e9:.6g} GMACs" for macs in (tree.ceiling.cost.macs(values), tree.ceiling.limit))
        raise ValueError(f"sizes would cost {cost}, above the ceiling of the conversion (max_gmacs), which is {most}")
    return values


def parameter_groups(
    model: nn.Module,
    *,
    lr: float = 0.1,
    alpha_lr: float = 0.01,
    kernel_lr: float | None = None,
    weight_decay: float = 5e-4,
) -> list[dict[str, Any]]:
    """Optimiser groups of a model: its weights, and without weight decay what learns sizes of maps and of kernels.

    Alphas ("alphas") are found by module type, including hand-placed resizers, and so are the parameters that determine
    the size of a learned kernel ("kernels"); a group without parameters is left out.

    Args:
        model: any module.
        lr: learning rate of the weights.
        alpha_lr: learning rate of the alphas.
        kernel_lr: learning rate of the group "kernels"; None: `lr`.
        weight_decay: of the weights.

    Raises:
        ValueError: for a negative or non-finite learning rate or `weight_decay`.
    """
    check_model(model)
    kernel_lr = lr if kernel_lr is None else kernel_lr
    rates = {"lr": lr, "alpha_lr": alpha_lr, "kernel_lr": kernel_lr, "weight_decay": weight_decay}
    check_numbers("a finite number >= 0", lambda n: 0 <= n < math.inf, **rates)
    alphas = [resizer.shared_alpha() for resizer in learned_alphas(model).values()]
    kernels = [parameter for layer in learned_kernels(model).values() for parameter in layer.size_parameters()]
    mine = {id(p) for p in (*alphas, *kernels)}
    weights = [p for p in model.parameters() if id(p) not in mine]
    groups: list[dict[str, Any]] = [{"params": weights, "lr": lr, "weight_decay": weight_decay, "name": "weights"}]
    for name, parameters, rate in (("alphas", alphas, alpha_lr), ("kernels", kernels, kernel_lr)):
        if parameters:
            groups.append({"params": parameters, "lr": rate, "weight_decay": 0.0, "name": name})
    return groups
