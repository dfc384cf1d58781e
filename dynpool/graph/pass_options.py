"""What a traced pass needs besides an image's size, kept by a converted model and described in its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from dynpool.resolution import ResolutionTree

from .inputs import Inputs, make_inputs

__all__ = ["PassOptions", "described", "keep_options", "options_from", "prepared"]


class PassOptions(TypedDict, total=False):
    """What a traced pass needs besides the size of the image, see :func:`.tracer.trace`."""

    inputs: Any
    batch: int | None
    dtype: torch.dtype | None


def prepared(options: PassOptions, input_size: tuple[int, ...]) -> PassOptions:
    """The options with their inputs as meta tensors, from which those of other sizes are made.

    Raises:
        ValueError: if no tensor of the inputs has that size.
    """
    if options.get("inputs") is None:
        return options
    made = make_inputs(input_size, options["inputs"], torch.float32)
    if made.images[0].shape[-len(input_size) :] != input_size:
        raise ValueError(f"no tensor of inputs has the size {input_size} of input_size")
    return {**options, "inputs": made}


def keep_options(model: nn.Module, tree: ResolutionTree, options: PassOptions) -> None:
    """Have later passes and traces of a converted model use the prepared options of its conversion.

    Raises:
        ValueError: for an image in a container, where a converted model does not look for its size.
    """
    tree.pass_options = {name: value for name, value in options.items() if value is not None}
    inputs = options.get("inputs")
    if inputs is not None:
        tree.image_place = inputs.image_place(model.forward)


def described(options: Mapping[str, Any]) -> dict[str, Any]:
    """Kept options as JSON data: tensors by shape and dtype; an argument of an unknown type by the type's name."""
    found = dict(options)
    if "dtype" in found:
        found["dtype"] = _name(found["dtype"])
    if isinstance(inputs := found.get("inputs"), Inputs):
        found["inputs"] = _described(inputs.kwargs or inputs.args)
    return found


def options_from(data: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`described`; other entries stay as they are.

    Raises:
        ValueError: for an argument whose type was unknown.
    """
    found = dict(data)
    if "dtype" in found:
        found["dtype"] = _dtype(found["dtype"])
    if "inputs" in found:
        found["inputs"] = _value(found["inputs"])
    return found


def _described(value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        return {"tensor": list(value.shape), "dtype": _name(value.dtype)}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _described(inner) for key, inner in value.items()}}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_described(inner) for inner in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    return {"unknown": type(value).__name__}


def _value(data: Mapping[str, Any]) -> Any:
    if "tensor" in data:
        return torch.empty(data["tensor"], dtype=_dtype(data["dtype"]), device="meta")
    if "dict" in data:
        return {key: _value(inner) for key, inner in data["dict"].items()}
    if "list" in data:
        return [_value(inner) for inner in data["list"]]
    if "tuple" in data:
        return tuple(_value(inner) for inner in data["tuple"])
    if "value" in data:
        return data["value"]
    raise ValueError(
        f"the model was converted with an input of type {data.get('unknown')}, which a file does not describe: give "
        "the arguments as conversion={...}"
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"the description of a conversion has the unknown dtype {name!r}")
    return dtype
