"""Set the learned sizes of a model, converted or with hand-placed resizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dynpool.common.arguments import check_model
from dynpool.graph import check_input_size, trace
from dynpool.resizers import LearnedResizer, check_axes, host_alphas, learned_resizers, set_alpha, usable_alphas
from dynpool.resolution import checked_sizes, converted_model, resolution_tree, set_tree_sizes
from dynpool.size_math import AXES, PerAxis, Size

__all__ = ["set_sizes"]


def set_sizes(
    model: nn.Module, sizes: Mapping[str, Size], *, input_size: Sequence[int] | None = None, inputs: Any = None
) -> None:
    """Set the alphas of a model so that its resolutions have the given sizes.

    Args:
        model: a converted model, or one with hand-placed resizers.
        sizes: {name: (height, width)} in pixels, (length,) or (depth, height, width); names as in
            `resolutions(model)`. Other resolutions keep their alpha. A size outside a resizer's bounds widens them.
        input_size: (C, H, W) of the input at which hand-placed resizers have these sizes, required for them; one that
            is called several times, at its first call. A converted model's are for its own input size.
        inputs: the arguments of the forward of a model with hand-placed resizers, if an image is not enough.

    Raises:
        ValueError: for a model without learned resolutions, an unknown name, a size below 2 pixels, a size at which
            later layers do not run (the message says which), one that the resizer cannot have, or sizes that cost more
            than the ceiling `max_gmacs` of the conversion. The model is then left as it was.
    """
    check_model(model)
    model = converted_model(model)
    tree = resolution_tree(model)
    if tree is not None:
        if input_size is not None and check_input_size(input_size) != tree.input_size:
            raise ValueError(
                f"input_size={tuple(input_size)}: the sizes of a converted model are for its own input size, "
                f"{tree.input_size}"
            )
        set_tree_sizes(tree, sizes)
        return
    owners = learned_resizers(model, owners=True)
    if not owners:
        raise ValueError(
            f"set_sizes needs a model with learned sizes, got a {type(model).__name__}: call dynpool.convert first, or "
            "place a resizer in it"
        )
    wanted = checked_sizes(sizes, {name: resizer.axes for name, resizer in owners.items()})
    if input_size is None:
        (axes, *_) = (AXES[resizer.axes] for resizer in owners.values())
        raise ValueError(f"set_sizes needs input_size=(channels, {', '.join(axes)}) for hand-placed resizers")
    check_axes(model, len(check_input_size(input_size)) - 1, "set_sizes at this input_size")
    sought = {id(owners[name]): (name, size) for name, size in wanted.items()}
    values = _values_by_hand(model, sought, check_input_size(input_size), inputs)
    before = [(resizer, resizer.bounds, host_alphas([resizer])[0]) for resizer, _ in values]
    try:
        for resizer, value in values:
            resizer.make_room(resizer.strides(value))
            set_alpha(resizer, value)
    except ValueError:
        for resizer, bounds, alpha in before:
            set_alpha(resizer, alpha)
            resizer.bounds = bounds
        raise


def _values_by_hand(
    model: nn.Module, wanted: Mapping[int, tuple[str, Size]], input_size: Sequence[int], inputs: Any
) -> list[tuple[LearnedResizer[Any], PerAxis]]:
    """The values of the alphas at which the resizers with these ids have the wanted sizes, from one traced pass."""
    found: dict[int, tuple[LearnedResizer[Any], PerAxis]] = {}

    def choose(resizer: LearnedResizer[Any], size: Size) -> Size:
        owner = resizer.root()
        name, want = wanted.get(id(owner), ("", None))
        if want is None:
            return resizer.output_size(size, resizer.strides(usable_alphas([owner])[0]))
        first = id(owner) not in found
        value = owner.values_for(size, want) if first else found[id(owner)][1]
        out = resizer.output_size(size, resizer.strides(value))
        if first and out != want:
            raise ValueError(f"sizes[{name!r}]={want!r} cannot be reached: the nearest alpha gives {out}")
        found[id(owner)] = owner, value
        return out

    trace(model, input_size, inputs=inputs, choose=choose)
    never = [name for key, (name, _) in wanted.items() if key not in found]
    if never:
        raise ValueError(f"sizes[{never[0]!r}] cannot be set: the model does not call that resizer")
    return list(found.values())
