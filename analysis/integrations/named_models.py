"""Models by name: from timm, from torchvision, or from a callable of the user. Nothing is downloaded."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynpool.common.library_models import LIBRARIES, create_model, full_name
from dynpool.common.names import nearest

__all__ = ["error_summary", "imported_object", "named_model"]


def named_model(
    name: str, input_size: Sequence[int], *, weights: bool = True, classes: int | None = None
) -> tuple[str, nn.Module]:
    """The full name of a model and the model itself, with random weights.

    A name that both libraries have means timm's model; write "torchvision:resnet50" for the other.

    Args:
        name: a model name of timm or torchvision, also as "timm:NAME" or "torchvision:NAME"; or "module:callable",
            which is called without arguments (an nn.Module under that name is returned as it is). A Keras 3 model on
            Keras' torch backend is wrapped to take images of shape (N, C, H, W).
        input_size: (C, *spatial) in pixels. timm's models are built for its channels and, where needed, its size.
        weights: False puts the weights of timm's and torchvision's models on the meta device, which takes no memory.
        classes: outputs of timm's and torchvision's models; None: the library's default.

    Raises:
        ValueError: for an unknown name (the message gives the nearest ones), or a model that cannot be built.
    """
    prefix, colon, _ = name.partition(":")
    if colon and prefix not in LIBRARIES:
        return name, _imported(name)
    name = full_name(name)
    sized = {} if classes is None else {"num_classes": classes}
    try:
        with nullcontext() if weights else torch.device("meta"):
            return name, create_model(name, **_options(name, input_size), **sized)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"{name} cannot be built for {tuple(input_size)}: {error}") from error


def _options(name: str, input_size: Sequence[int]) -> dict[str, Any]:
    """What a library's model must be told to take images of this size."""
    library, _, wanted = name.partition(":")
    if library == "timm":
        import timm

        config = timm.models.get_pretrained_cfg(wanted)
        fixed = config is not None and config.fixed_input_size
        return {"in_chans": input_size[0]} | ({"img_size": tuple(input_size[1:])} if fixed else {})
    if input_size[0] != 3:
        raise ValueError(f"torchvision's models take 3 channels, not {input_size[0]}")
    return {}


def imported_object(name: str, argument: str = "model") -> Any:
    """The object that "module:attribute" names, imported from Python's path; errors say that `argument` names it.

    Raises:
        ValueError: if there is no such module or attribute, or the module cannot be imported, whatever it raises.
    """
    path, _, attribute = name.partition(":")
    if not path.strip(".") or path.startswith(".") or not attribute:
        raise ValueError(f"{argument} is {name!r}: give your own model as package.module:callable")
    try:
        found: Any = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            near = nearest(path, LIBRARIES)  # or else the list of them
            said = near if "did you mean" in near else ""
            raise ValueError(f"{argument} is {name!r}: there is no module {error.name!r}{said}") from None
        raise ValueError(f"{argument} is {name!r}: {path} cannot be imported: {error_summary(error)}") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise ValueError(f"{argument} is {name!r}: {path} cannot be imported: {error_summary(error)}") from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ValueError(f"{argument} is {name!r}: {error}") from None
    return found


def error_summary(error: BaseException) -> str:
    """One line on an error raised by a user's code: its type, its message, and the line of that code."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    ours = f"{Path(__file__).parents[2]}{os.sep}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    own = [f for f in frames if not f.filename.startswith(ours) and "site-packages" not in f.filename]
    if isinstance(error, SyntaxError) or not own:  # a SyntaxError says the line itself
        return said
    return f"{said} ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def _imported(name: str) -> nn.Module:
    made = found = imported_object(name)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ValueError(f"model is {name!r}, which is of type {type(found).__name__}, not a callable")
        try:
            made = found()
        except Exception as error:  # a user's callable may raise anything
            raise ValueError(
                f"model is {name!r}: called without arguments, it raised {error_summary(error)}"
            ) from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"model is {name!r}: it returned a {type(made).__name__}, not an nn.Module")
    if any(kind.__module__.split(".")[0] == "keras" for kind in type(made).__mro__):
        from .keras import from_keras

        return from_keras(made)
    return made
