"""Networks by name: this library's own, and models of timm, torchvision or the user."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from dynpool.analysis.integrations import error_summary, imported_object
from dynpool.common.arguments import check_flags, check_whole, is_whole
from dynpool.common.library_models import LIBRARIES, create_model, full_name
from dynpool.common.names import nearest
from dynpool.size_math import AXES

from .config_sections import ModelConfig
from .errors import ConfigError
from .segmentation_models import HRNetSegmentation, UNet
from .small_image_models import cifar_mobilenetv2, cifar_resnet, cifar_vgg, cifar_vgg16

__all__ = [
    "MODELS",
    "build_model",
    "find_factory",
    "narrow_vgg",
]

GIVEN = ("num_classes", "in_channels")  # arguments that every factory is called with


def narrow_vgg(
    num_classes: int,
    in_channels: int = 3,
    *,
    widths: Sequence[int] = (16, 16, 32, 32, 64),
    pool: int = 2,
    batch_norm: bool = True,
    axes: int = 2,
) -> nn.Sequential:
    """A VGG with one 3x3 convolution, batch norm and ReLU per stage, max pooling between stages, one linear layer.

    Args:
        num_classes: outputs.
        in_channels: channels of the input.
        widths: channels of each stage; there is a pooling between each two stages.
        pool: window and stride of the pooling.
        batch_norm: whether a batch norm follows each convolution.
        axes: 2 for images; 3 for clips, 1 for sequences, along all of which kernels have 3 pixels.
    """
    if not isinstance(widths, (list, tuple)) or not widths or not all(is_whole(w) and w > 0 for w in widths):
        raise ValueError(f"widths={widths!r}: expected a non-empty list of positive integers")
    check_whole(2, pool=pool)
    check_flags(batch_norm=batch_norm)
    if not is_whole(axes) or axes not in AXES:
        raise ValueError(f"axes={axes!r}: expected a whole number from 1 to 3")
    conv, max_pool, norm, average = (
        getattr(nn, f"{kind}{axes}d") for kind in ("Conv", "MaxPool", "BatchNorm", "AdaptiveAvgPool")
    )
    layers: list[nn.Module] = []
    before = in_channels
    for stage, width in enumerate(widths):
        if stage:
            layers.append(max_pool(pool))
        layers.append(conv(before, width, 3, padding=1, bias=not batch_norm))
        layers += [norm(width)] * batch_norm + [nn.ReLU(inplace=True)]
        before = width
    return nn.Sequential(*layers, average(1), nn.Flatten(), nn.Linear(before, num_classes))


MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "narrow-vgg": narrow_vgg,
        "cifar-vgg": cifar_vgg,
        "cifar-vgg16": cifar_vgg16,
        "cifar-resnet": cifar_resnet,
        "cifar-mobilenetv2": cifar_mobilenetv2,
        "hrnet-segmentation": HRNetSegmentation,
        "unet": UNet,
    }
)


def _library(name: str, *, classifiers: bool) -> Callable[..., nn.Module]:
    """The factory of a model of timm or torchvision."""
    try:
        name = full_name(name, "model.name", own=MODELS, classifiers=classifiers)
    except ValueError as error:
        raise ConfigError(str(error)) from None

    def build(num_classes: int, in_channels: int, **options: Any) -> nn.Module:
        if name.startswith("timm:"):
            options["in_chans"] = in_channels
        elif in_channels != 3:
            raise ConfigError(
                f"model.name is {name!r}, which takes 3 channels, not {in_channels}: set data.channels: 3"
            )
        return create_model(name, num_classes=num_classes, **options)

    return build


def _imported(name: str) -> Callable[..., nn.Module]:
    try:
        factory: Callable[..., nn.Module] = imported_object(name, "model.name")
    except ValueError as error:
        raise ConfigError(str(error), "model.name") from error
    if not callable(factory):
        raise ConfigError(f"model.name is {name!r}, which is of type {type(factory).__name__}, not a callable")
    return factory


def find_factory(config: ModelConfig, *, task: str = "classification") -> Callable[..., nn.Module]:
    """The callable that `config` names, which builds the network.

    Of torchvision's models those that classify images; for the task "segmentation" all.

    Raises:
        ConfigError: for an unknown name (the message gives the nearest), or arguments that, as far as the signature of
            the callable tells, it does not take.
    """
    prefix, colon, _ = config.name.partition(":")
    if config.name in MODELS:
        factory = MODELS[config.name]
    else:
        own = colon and prefix not in LIBRARIES
        factory = _imported(config.name) if own else _library(config.name, classifiers=task == "classification")
    _check_names(config, factory)
    return factory


def _check_names(config: ModelConfig, factory: Callable[..., nn.Module]) -> None:
    for key in config.options:
        if key in GIVEN:
            raise ConfigError(f"model.options has {key!r}, which follows from the data: omit it")
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a callable written in C
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in GIVEN:
        if name not in parameters:
            called = f"it is called as {config.name.rpartition(':')[2]}({', '.join(f'{given}=...' for given in GIVEN)})"
            raise ConfigError(f"model.name is {config.name!r}, which does not take {name}: {called}", "model.name")
    known = [name for name in parameters if name not in GIVEN]
    for key in config.options:
        if key not in known:
            said = nearest(key, known) if known else "; it takes none"
            raise ConfigError(f"model.options has {key!r}, which {config.name!r} does not take{said}")


def build_model(config: ModelConfig, *, num_classes: int, in_channels: int, task: str = "classification") -> nn.Module:
    """The network that `config` names, with random weights from PyTorch's global generator.

    A factory is called as factory(num_classes=..., in_channels=..., **options). A name that both libraries have means
    timm's model, as in `dynpool.analysis.integrations.named_models`.

    Raises:
        ConfigError: as `find_factory` does, or for options that the factory rejects.
    """
    factory = find_factory(config, task=task)
    try:
        model = factory(num_classes=num_classes, in_channels=in_channels, **config.options)
    except ConfigError:
        raise
    except Exception as error:  # a factory may raise anything
        if config.name in MODELS and isinstance(error, (TypeError, ValueError)):
            raise ConfigError(f"model.options of {config.name!r}: {error}") from error
        raise ConfigError(f"model {config.name!r} with options {config.options}: {error_summary(error)}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model.name is {config.name!r}: it returned a {type(model).__name__}, not an nn.Module")
    return model
