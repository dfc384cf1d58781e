"""Models by name: of timm, of torchvision, or what a callable of the user's own returns. Nothing is downloaded."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from dynpool.common.names import nearest

__all__ = ["found_object", "named_model", "why"]


def named_model(name: str, input_size: Sequence[int], *, weights: bool = True) -> tuple[str, nn.Module]:
    """The model that `name` stands for, with fresh weights, and its full name.

    A name that both libraries know is timm's: "torchvision:resnet50" asks for the other.

    Args:
        name: a name of timm or torchvision, also as "timm:NAME" or "torchvision:NAME"; or "module:callable", which is
            called without arguments (an nn.Module found under that name is taken as it is). A Keras 3 model on Keras'
            torch backend is made to take images of (N, C, H, W).
        input_size: (C, *spatial) in pixels. timm's models take their channels, and where they need it their size, from
            it.
        weights: whether the weights will be looked at; if not, those of named models take no memory.

    Raises:
        ValueError: for a name that nobody knows (naming the nearest), or a model that cannot be built so.
    """
    prefix, colon, rest = name.partition(":")
    if colon and prefix not in _LIBRARIES:
        return name, _imported(name)
    wanted = rest if colon else name
    known = {library: names() for library, (names, _) in _LIBRARIES.items() if not colon or library == prefix}
    for library, names in known.items():
        if wanted in names:
            try:
                with _memory(weights):
                    return f"{library}:{wanted}", _LIBRARIES[library][1](wanted, input_size)
            except (RuntimeError, TypeError, ValueError, AssertionError) as error:
                raise ValueError(f"{library}:{wanted} cannot be built for {tuple(input_size)}: {error}") from error
    all_names = [f"{library}:{one}" if colon else one for library, names in known.items() for one in names]
    raise ValueError(
        f"model is {name!r}, which is no model of {' or '.join(known)}{nearest(name, dict.fromkeys(all_names), most=3)}"
        " (one of your own is given as package.module:callable)"
    )


def _memory(weights: bool) -> AbstractContextManager[Any]:
    return nullcontext() if weights else torch.device("meta")


def _timm(name: str, input_size: Sequence[int]) -> nn.Module:
    config = timm.models.get_pretrained_cfg(name)
    options: dict[str, Any] = {"in_chans": input_size[0]}
    if config is not None and config.fixed_input_size:
        options["img_size"] = tuple(input_size[1:])
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _torchvision(name: str, input_size: Sequence[int]) -> nn.Module:
    if input_size[0] != 3:
        raise ValueError(f"torchvision's models take 3 channels, not {input_size[0]}")
    options: dict[str, Any] = {"weights": None}
    if name in torchvision.models.list_models(
        torchvision.models.segmentation
    ) or name in torchvision.models.list_models(torchvision.models.detection):
        options["weights_backbone"] = None
    model: nn.Module = torchvision.models.get_model(name, **options)
    return model


_LIBRARIES: dict[str, tuple[Callable[[], list[str]], Callable[[str, Sequence[int]], nn.Module]]] = {
    "timm": (timm.list_models, _timm),
    "torchvision": (torchvision.models.list_models, _torchvision),
}


def found_object(name: str) -> Any:
    """What "module:attribute" stands for, imported from Python's path.

    Raises:
        ValueError: there is no such module or attribute, or the module cannot be imported, whatever it raises.
    """
    path, _, attribute = name.partition(":")
    if not path.strip(".") or path.startswith(".") or not attribute:
        raise ValueError(f"model is {name!r}: one of your own is given as package.module:callable")
    try:
        found: Any = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise ValueError(f"model is {name!r}: there is no module {error.name!r}") from None
        raise ValueError(f"model is {name!r}: {path} cannot be imported: {why(error)}") from error
    except (Exception, SystemExit) as error:  # what a user's module raises is up to it
        raise ValueError(f"model is {name!r}: {path} cannot be imported: {why(error)}") from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ValueError(f"model is {name!r}: {error}") from None
    return found


def why(error: BaseException) -> str:
    """An error of code that is not ours in one line: its type, what it says, and the line of that code."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    ours = tuple(str(Path(__file__).parents[2] / name) for name in ("analysis", "dynpool"))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    own = [f for f in frames if not f.filename.startswith(ours) and "site-packages" not in f.filename]
    if isinstance(error, SyntaxError) or not own:  # a SyntaxError says the line itself
        return said
    return f"{said} ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def _imported(name: str) -> nn.Module:
    made = found = found_object(name)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ValueError(f"model is {name!r}, which is of type {type(found).__name__}, not a callable")
        try:
            made = found()
        except Exception as error:  # what a user's callable raises is up to it
            raise ValueError(f"model is {name!r}: called without arguments, it raised {why(error)}") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"model is {name!r}: it gave a {type(made).__name__}, not an nn.Module")
    if any(kind.__module__.split(".")[0] == "keras" for kind in type(made).__mro__):
        from .keras import from_keras

        return from_keras(made)
    return made
