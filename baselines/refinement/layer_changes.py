"""Changes of single layers, of which edits consist, and how each is applied to a module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from dynpool.conversion import name_calls
from dynpool.graph import Graph

from .placements import stride_of

__all__ = ["LayerChange", "change_layer", "name_pools", "weights_at", "width_of"]

Values = tuple[int, ...]


@dataclass(frozen=True)
class LayerChange:
    """The change of one attribute of one layer, with its values before and after.

    Nothing is checked on construction: `from_dict` rejects an unknown attribute, `change_layer` a layer whose value is
    not `before`.

    `attribute` is one of
        "stride": (height, width), or other axes. Padding and weights do not change. The kernel of a pool with
            kernel = stride and no padding follows the stride; at stride 1 the pool becomes `nn.Identity`.
        "window": (kernel height, width, stride height, width, padding height, width) of a convolution, which gets new
            weights.
        "max_pool": 0 -> 2, adds a 2x2 max-pool behind a layer without weights.
        "kept": 1 -> 0, the layer or block becomes `nn.Identity`.
        "width": (input, output) channels of a convolution or linear layer, (channels,) of a batch norm or depthwise
            convolution; the layer gets new weights.

    Attributes:
        layer: path of the module, as in `named_modules()`.
        attribute: the attribute that changes, see above.
        before, after: its values, whole numbers.
    """

    layer: str
    attribute: str
    before: Values
    after: Values

    def to_dict(self) -> dict[str, Any]:
        """The change as strings and lists of numbers, ready for JSON."""
        return {
            "layer": self.layer,
            "attribute": self.attribute,
            "before": list(self.before),
            "after": list(self.after),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LayerChange:
        """The change that `to_dict` returned as `plain`.

        Raises:
            KeyError: if a key is missing.
            TypeError: if `before` or `after` is not a list of numbers.
            ValueError: if the attribute is unknown, or a value is not a number.
        """
        before, after = (tuple(int(n) for n in plain[key]) for key in ("before", "after"))
        change = cls(str(plain["layer"]), str(plain["attribute"]), before, after)
        if change.attribute not in _CHANGES:
            raise ValueError(f"attribute must be one of {', '.join(_CHANGES)}, got {change.attribute!r}")
        return change

    def cells(self) -> tuple[str, str, str, str, str]:
        """The cells of a table row: layer, attribute, before, arrow, after."""
        return (self.layer, self.attribute, _show(self.before), "->", _show(self.after))


def name_pools(model: nn.Module, graph: Graph) -> bool:
    """Replace functional calls of pools by modules, which can be changed; True if there were any.

    Args:
        model: changed in place.
        graph: its trace with `every_window=True`.
    """
    return name_calls(model, graph, lambda module: stride_of(module) is not None)


def change_layer(model: nn.Module, change: LayerChange) -> None:
    """Apply a change to `model` in place.

    Raises:
        ValueError: if the layer is missing, or its value is not the change's `before`.
    """
    modules = dict(model.named_modules())
    module = modules.get(change.layer)
    if module is None:
        raise ValueError(f"{type(model).__name__} has no layer {change.layer!r}")
    read, set_value = _CHANGES[change.attribute]
    found = read(module)
    if found != change.before:
        raise ValueError(
            f"{change.attribute} of {change.layer} is {_show(found) if found else 'missing'} in this "
            f"{type(model).__name__}, but the plan expects {_show(change.before)}"
        )
    replacement = set_value(module, change.after)
    if replacement is not module:
        replacement.train(module.training)
        owner, _, leaf = change.layer.rpartition(".")
        setattr(modules[owner], leaf, replacement)


def _show(values: Values) -> str:
    return "x".join(map(str, values[:1] if len(set(values)) == 1 else values))


# --- strides ----------------------------------------------------------------------------------------------------------


def _set_stride(module: nn.Module, stride: Values) -> nn.Module:
    if isinstance(module, _POOLS):
        axes = len(stride)
        kernel, padding = _each(module.kernel_size, axes), _each(getattr(module, "padding", 0), axes)
        old = stride_of(module, axes) or stride
        gone = [s == 1 and k == o and p == 0 for s, k, o, p in zip(stride, kernel, old, padding, strict=True)]
        kernel = tuple(1 if out else k for out, k in zip(gone, kernel, strict=True))
        if set(kernel) == set(stride) == {1}:
            return nn.Identity()
        setattr(module, "kernel_size", kernel)  # noqa: B010 - a Tensor or Module to the type checker otherwise
    whole = isinstance(getattr(module, "stride"), int) and len(set(stride)) == 1  # noqa: B009
    setattr(module, "stride", stride[0] if whole else stride)  # noqa: B010
    return module


_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _each(value: Any, axes: int) -> Values:
    return (value,) * axes if isinstance(value, int) else tuple(map(int, value))


# --- windows, pools and blocks ----------------------------------------------------------------------------------------


def _window_of(module: nn.Module) -> Values:
    if not isinstance(module, nn.Conv2d) or isinstance(module.padding, str):
        return ()
    return (*_each(module.kernel_size, 2), *_each(module.stride, 2), *_each(module.padding, 2))


def _set_window(module: nn.Module, window: Values) -> nn.Module:
    if not isinstance(module, nn.Conv2d):
        raise TypeError(f"the layer is a {type(module).__name__}, but only an nn.Conv2d can change its window")
    kh, kw, sh, sw, ph, pw = window
    return convolution_like(module, kernel_size=(kh, kw), stride=(sh, sw), padding=(ph, pw))


def convolution_like(module: nn.Conv2d, **changed: Any) -> nn.Conv2d:
    """A convolution with new weights and the arguments of `module` except those in `changed`."""
    arguments = {
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        "kernel_size": module.kernel_size,
        "stride": module.stride,
        "padding": module.padding,
        "dilation": module.dilation,
        "groups": module.groups,
        "padding_mode": module.padding_mode,
        "bias": module.bias is not None,
        "device": module.weight.device,
        "dtype": module.weight.dtype,
    }
    return type(module)(**{**arguments, **changed})


def _pool_behind(module: nn.Module) -> Values:
    return () if next(module.parameters(), None) is not None else (0,)


def _add_pool(module: nn.Module, size: Values) -> nn.Module:
    return nn.Sequential(module, nn.MaxPool2d(size[0]))


def _kept(module: nn.Module) -> Values:
    return (int(not isinstance(module, nn.Identity)),)


def _set_identity(module: nn.Module, _: Values) -> nn.Module:
    return nn.Identity()


# --- widths ----------------------------------------------------------------------------------------------------------


def width_of(module: nn.Module) -> Values:
    """The channels of a module as in the "width" of a `LayerChange`; empty if it has none."""
    if isinstance(module, _CONVOLUTIONS):
        depthwise = module.groups == module.in_channels == module.out_channels > 1
        return (module.in_channels,) if depthwise else (module.in_channels, module.out_channels)
    if isinstance(module, nn.Linear):
        return (module.in_features, module.out_features)
    return (module.num_features,) if isinstance(module, _BATCH_NORMS) else ()


def weights_at(module: nn.Module, width: Values) -> int:
    """The number of weights that the module would have at the given width."""
    taken, given = width[0], width[-1]
    biases = given * (getattr(module, "bias", None) is not None)
    if isinstance(module, _CONVOLUTIONS):
        groups = taken if len(width) == 1 else module.groups
        return given * (taken // groups) * math.prod(module.kernel_size) + biases
    if isinstance(module, nn.Linear):
        return taken * given + biases
    return given * (getattr(module, "weight", None) is not None) + biases


def _set_width(module: nn.Module, width: Values) -> nn.Module:
    taken, given = width[0], width[-1]
    if isinstance(module, _CONVOLUTIONS):
        module.groups = taken if len(width) == 1 else module.groups
        module.in_channels, module.out_channels = taken, given
        shape: Values = (given, taken // module.groups, *module.kernel_size)
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = taken, given
        shape = (given, taken)
    elif isinstance(module, _BATCH_NORMS):
        module.num_features = given
        shape = (given,)
        for name in ("running_mean", "running_var"):
            if getattr(module, name) is not None:
                setattr(module, name, getattr(module, name).new_empty(given))
    else:
        raise TypeError(f"the layer is a {type(module).__name__}, which has no width that can change")
    if module.weight is not None:
        module.weight = nn.Parameter(module.weight.new_empty(shape))
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias.new_empty(given))
    module.reset_parameters()
    return module


# --- for each attribute, how to read and how to set it ---------------------------------------------------------------

_Read = Callable[[nn.Module], Values]
_Set = Callable[[nn.Module, Values], nn.Module]
_CHANGES: Mapping[str, tuple[_Read, _Set]] = MappingProxyType(
    {
        "stride": (lambda module: stride_of(module) or (), _set_stride),
        "window": (_window_of, _set_window),
        "max_pool": (_pool_behind, _add_pool),
        "kept": (_kept, _set_identity),
        "width": (width_of, _set_width),
    }
)
