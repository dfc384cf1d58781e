"""The layers of a model that are looked at, by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dynpool.common.names import nearest

__all__ = ["checked_names", "layer_names"]


def layer_names(model: nn.Module, layers: Sequence[str] | None, argument: str = "layers") -> list[str]:
    """The paths of the layers to look at: those given, or all convolutions and linear layers.

    Raises:
        TypeError: if `layers` is not a list of names; the message names the argument.
        ValueError: for a name that the model does not have, naming the nearest, or if there is no layer.
    """
    if layers is None:
        kinds = (nn.modules.conv._ConvNd, nn.Linear)
        found = [name for name, module in model.named_modules() if isinstance(module, kinds)]
        if not found:
            raise ValueError(
                f"{argument}: the {type(model).__name__} has no convolution or linear layer; name the layers to look at"
            )
        return found
    given = checked_names(model, layers, argument)
    if not given:
        raise ValueError(
            f"{argument} is empty: name one layer or more, or give None for all convolutions and linear layers"
        )
    return given


def checked_names(model: nn.Module, names: Sequence[str], argument: str) -> list[str]:
    """Names of modules of the model, each once; none are allowed.

    Raises:
        TypeError: if they are not a list of names; the message names the argument.
        ValueError: for a name that the model does not have, naming the nearest.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(n, str) for n in names):
        raise TypeError(f"{argument} must be a list of names of modules, got {names!r}")
    modules = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in modules:
            raise ValueError(f"{argument}: the {type(model).__name__} has no layer {name!r}{nearest(name, modules)}")
    return list(dict.fromkeys(names))
