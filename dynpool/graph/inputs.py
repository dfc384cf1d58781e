"""The inputs of a trace: meta tensors for one or several inputs of any rank."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only

from dynpool.common.arguments import is_whole
from dynpool.size_math import AXES

__all__ = ["InputSize", "Inputs", "check_input_size", "make_inputs", "without_batch"]

MOST_VALUES = 2**42  # a slide of a million pixels a side; time and memory of a trace grow with the sides

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_NAME = (inspect.Parameter.KEYWORD_ONLY,)

InputSize = Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Sequence[int]]


class Inputs(NamedTuple):
    """Arguments of a forward pass on meta tensors; `images` are the tensors among them whose extents are `size`'s."""

    size: tuple[int, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    images: tuple[Tensor, ...]
    given: bool = False  # by the caller, batch included

    @property
    def batch(self) -> int:
        """Images of the pass."""
        first = self.images[0]
        return max(first.shape[0], 1) if first.ndim > len(self.size) else 1

    def at(self, size: tuple[int, ...]) -> Inputs:
        """The arguments for images of another size: every map with the extents of the images gets those of `size`.

        A map is a tensor of as many dimensions as the size has or more, such as a mask (N, H, W).

        Raises:
            ValueError: for another number of channels or axes.
        """
        before, after = self.size[1:], tuple(size[1:])
        if size[0] != self.size[0] or len(before) != len(after):
            raise ValueError(f"input_size is {tuple(size)}, but the model was given inputs of size {self.size}")

        def resized(t: Tensor) -> Tensor:
            changes = t.ndim >= len(size) and t.shape[-len(before) :] == before
            return t.new_empty((*t.shape[: -len(before)], *after)) if changes else t

        args, kwargs = tree_map_only(Tensor, resized, (self.args, self.kwargs))
        leaves, changed = (tree_flatten(both)[0] for both in ((self.args, self.kwargs), (args, kwargs)))
        places = {id(leaf): place for place, leaf in enumerate(leaves)}
        images = tuple([changed[places[id(image)]] for image in self.images])
        return self._replace(size=tuple(size), args=args, kwargs=kwargs, images=images)

    def image_place(self, forward: Callable[..., Any]) -> tuple[int | None, str | None]:
        """The position and the name among the arguments of `forward` by which the image can be given.

        Raises:
            ValueError: for an image in a container, where a converted model does not look for its size.
        """
        try:
            parameters = [p for p in inspect.signature(forward).parameters.values() if p.kind not in _VARIADIC]
        except ValueError:  # a builtin function tells no signature
            parameters = []
        for place, argument in enumerate(self.args):
            if argument is self.images[0]:
                named = place < len(parameters) and parameters[place].kind is not inspect.Parameter.POSITIONAL_ONLY
                return place, parameters[place].name if named else None
        for name, argument in self.kwargs.items():
            if argument is self.images[0]:
                places = (k for k, p in enumerate(parameters) if p.name == name and p.kind not in _BY_NAME)
                return next(places, None), name
        raise ValueError(
            f"inputs must have the image of size {self.size} as an argument of its own, not in a container"
        )


_NUMBERS = {1: "two", 2: "three", 3: "four"}  # of an input size, by the number of spatial axes


def check_input_size(input_size: Sequence[int], axes: int | None = None) -> tuple[int, ...]:
    """(C, H, W), (C, L) or (C, D, H, W) as a tuple of positive ints; with `axes`, of so many spatial axes alone.

    Raises:
        ValueError: for anything else, or more than 2**42 values.
    """
    if not _is_size(input_size) or (axes is not None and len(input_size) != axes + 1):
        allowed = [axes] if axes is not None else list(AXES)
        sizes = [f"(channels, {', '.join(AXES[n])})" for n in allowed]
        count = f"{_NUMBERS[allowed[0]]}{f' to {_NUMBERS[allowed[-1]]}' * (len(allowed) > 1)}"
        said = f"{', '.join(sizes[:-1])} or {sizes[-1]}" if len(sizes) > 1 else sizes[0]
        hint = without_batch(input_size)
        raise ValueError(f"input_size must be {count} positive ints {said}, got {input_size!r}{hint}")
    _check_volume(input_size)
    return tuple(map(int, input_size))


def without_batch(input_size: Any) -> str:
    """A hint for an `input_size` that seems to begin with a batch dimension; else an empty string."""
    if isinstance(input_size, (list, tuple)) and len(input_size) in (4, 5) and all(map(is_whole, input_size)):
        return f" (input_size has no batch dimension: should it be {tuple(input_size[1:])}?)"
    return ""


def make_inputs(input_size: InputSize | None, inputs: Any, dtype: torch.dtype, *, batch: int = 1) -> Inputs:
    """The arguments a model is traced with.

    Args:
        input_size: (C, H, W), (C, L) or (C, D, H, W) of one input, or a list (positional) or dict (by name) of such for
            several: the first is the image, and so are others of the same extents. None: of the first tensor in
            `inputs`.
        inputs: a tensor, or a tuple (positional) or dict (by name) of the model's arguments, batch included; only shape
            and dtype of tensors are used. None: one tensor of `dtype` and a batch of `batch` for each size. Inputs that
            were made before get the extents of `input_size`.

    Raises:
        ValueError: for a bad `input_size`, or if no tensor of `inputs` has its extents.
    """
    if isinstance(inputs, Inputs):
        return inputs if input_size is None else inputs.at(next(iter(_named_sizes(input_size).values())))
    if inputs is None:
        sizes = _named_sizes(input_size)
        made = {name: torch.empty((batch, *size), dtype=dtype, device="meta") for name, size in sizes.items()}
        args = tuple(t for name, t in made.items() if isinstance(name, int))
        kwargs = {name: t for name, t in made.items() if isinstance(name, str)}
        return _with_images(next(iter(sizes.values())), args, kwargs)
    given = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(given, (tuple, list, Mapping)):
        raise ValueError(f"inputs must be a tensor, a tuple or a dict, got {type(inputs).__name__}")
    blank = tree_map_only(Tensor, lambda t: torch.empty_like(t, device="meta"), given)
    tensors = [t for t in tree_flatten(blank)[0] if isinstance(t, Tensor)]
    if input_size is None:
        size = tuple(tensors[0].shape[1:]) if tensors else ()
    else:
        size = next(iter(_named_sizes(input_size).values()))
    if not _is_size(size):
        raise ValueError(
            "inputs must have a tensor (N, C, extents...) first if input_size is not given; "
            + (f"got (C, extents...) = {size}" if tensors else "there is no tensor in them")
        )
    if isinstance(blank, Mapping):
        return _with_images(size, (), dict(blank))._replace(given=True)
    return _with_images(size, tuple(blank), {})._replace(given=True)


def _with_images(size: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Find the images: a tensor of the given size first, and others of its extents unless they are masks of ints."""
    extents = size[1:]
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    of_size = [t for t in tensors if t.ndim >= len(size) and t.shape[-len(extents) :] == extents]
    floats = [t for t in of_size if t.dtype.is_floating_point]
    exact = [t for t in of_size if t.shape[-len(size) :] == size]
    first = next(iter([t for t in exact if t.dtype.is_floating_point] or exact or floats or of_size), None)
    if first is None:
        raise ValueError(f"no tensor of inputs has the extents {extents} of input_size={size}")
    return Inputs(size, args, kwargs, (first, *(t for t in floats or of_size if t is not first)))


def _named_sizes(input_size: InputSize | None) -> dict[int | str, tuple[int, ...]]:
    """All sizes, by the position or name of their argument."""
    if isinstance(input_size, Mapping):
        sizes: dict[int | str, Any] = dict(input_size.items())
    elif isinstance(input_size, (list, tuple)) and not _is_size(input_size):
        sizes = dict(enumerate(input_size))
    else:
        sizes = {0: input_size}
    if not sizes or not all(_is_size(size) for size in sizes.values()):
        raise ValueError(
            "input_size must be two to four positive ints, (channels, length), (channels, height, width) or (channels, "
            f"depth, height, width), or a list or dict of such, got {input_size!r}{without_batch(input_size)}"
        )
    for size in sizes.values():
        _check_volume(size)
    return {name: tuple(map(int, size)) for name, size in sizes.items()}


def _check_volume(size: Sequence[int]) -> None:
    if math.prod(map(int, size)) > MOST_VALUES:
        raise ValueError(f"input_size is {tuple(size)}; allowed: at most {MOST_VALUES:,} values in one input")


def _is_size(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str) or not 2 <= len(value) <= 4:
        return False
    return all(is_whole(n) and n > 0 for n in value)
