"""Models of timm and torchvision by name, with random weights. Nothing is downloaded."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from torch import nn

from .extras import optional
from .names import nearest

__all__ = ["LIBRARIES", "LISTING", "create_model", "full_name", "model_names"]

LIBRARIES = ("timm", "torchvision")
LISTING = "timm.list_models() and torchvision.models.list_models() list them, also for a pattern such as '*resnet*'"


def model_names(library: str, *, classifiers: bool = False) -> list[str]:
    """The names of a library's models; with `classifiers`, of torchvision's only those that classify images."""
    with optional():  # a second to import each: only when needed
        if library == "timm":
            import timm

            return list(timm.list_models())
        import torchvision

    return list(torchvision.models.list_models(torchvision.models if classifiers else None))


def full_name(name: str, argument: str = "model", *, own: Iterable[str] = (), classifiers: bool = False) -> str:
    """The name with its library, "timm:NAME" or "torchvision:NAME"; a name that both libraries have means timm's model.

    Args:
        name: with or without the library; of timm also with a tag, as "resnet50.a1_in1k".
        argument: what the name is given as, for the error.
        own: further names that would have been right, for the error.
        classifiers: only models that classify images.

    Raises:
        ValueError: for an unknown name; the message gives the nearest ones.
    """
    prefix, colon, rest = name.partition(":")
    wanted = rest if colon else name
    libraries = [library for library in LIBRARIES if not colon or library == prefix]
    names = {library: model_names(library, classifiers=classifiers) for library in libraries}
    for library in libraries:
        if wanted in names[library] or (library == "timm" and _is_tagged(wanted)):
            return f"{library}:{wanted}"
    known = [*own, *(f"{library}:{one}" if colon else one for library in libraries for one in names[library])]
    said = nearest(name, dict.fromkeys(known), most=3, listing=LISTING)
    raise ValueError(
        f"{argument} is {name!r}: no such model in {' or '.join(libraries)}{said}"
        " (give your own model as package.module:callable)"
    )


def _is_tagged(name: str) -> bool:
    import timm

    return bool(timm.is_model(name))


def create_model(name: str, **options: Any) -> nn.Module:
    """The model with this name, as :func:`full_name` returns it; `options` are passed to its library."""
    library, _, wanted = name.partition(":")
    model: nn.Module
    if library == "timm":
        import timm

        model = timm.create_model(wanted, **options)
        return model
    import torchvision

    if "weights_backbone" in inspect.signature(torchvision.models.get_model_builder(wanted)).parameters:
        options = {"weights_backbone": None, **options}
    model = torchvision.models.get_model(wanted, **options)
    return model
