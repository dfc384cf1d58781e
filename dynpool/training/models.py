"""Networks by name: this library's own, and models of timm, torchvision or the user."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.analysis.integrations import error_summary, imported_object
from dynpool.common.arguments import check_flags, check_whole, is_whole
from dynpool.common.library_models import LIBRARIES, create_model, full_name
from dynpool.common.names import nearest

from .config_sections import ModelConfig
from .errors import ConfigError
from .small_image_models import cifar_mobilenetv2, cifar_resnet, cifar_vgg, cifar_vgg16

__all__ = [
    "MODELS",
    "HRNetSegmentation",
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
) -> nn.Sequential:
    """A VGG with one 3x3 convolution, batch norm and ReLU per stage, max pooling between stages, one linear layer.

    Args:
        num_classes: outputs.
        in_channels: channels of the input.
        widths: channels of each stage; there is a pooling between each two stages.
        pool: window and stride of the pooling.
        batch_norm: whether a batch norm follows each convolution.
    """
    if not isinstance(widths, (list, tuple)) or not widths or not all(is_whole(w) and w > 0 for w in widths):
        raise ValueError(f"widths={widths!r}: expected a non-empty list of positive integers")
    check_whole(2, pool=pool)
    check_flags(batch_norm=batch_norm)
    layers: list[nn.Module] = []
    before = in_channels
    for stage, width in enumerate(widths):
        if stage:
            layers.append(nn.MaxPool2d(pool))
        layers.append(nn.Conv2d(before, width, 3, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm2d(width)] * batch_norm + [nn.ReLU(inplace=True)]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


class HRNetSegmentation(nn.Module):
    """A high-resolution network (Sun et al., CVPR 2019) with its segmentation head: (N, C, H, W) to class scores.

    The maps of all branches are interpolated to the size of the first and concatenated; two 1x1 convolutions follow,
    the first with as many channels, batch norm and ReLU. Scores have the first branch's size, a quarter of the image's.

    Args:
        num_classes: channels of the scores.
        in_channels: channels of the image.
        backbone: timm's name of an HRNet.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, *, backbone: str = "hrnet_w48") -> None:
        import timm

        super().__init__()
        names = timm.list_models("hrnet*")
        if backbone not in names:
            raise ValueError(f"backbone={backbone!r}: expected an HRNet of timm{nearest(str(backbone), names)}")
        net = timm.create_model(backbone, in_chans=in_channels, num_classes=0)
        for unused in ("incre_modules", "downsamp_modules", "final_layer", "global_pool", "head_drop", "classifier"):
            delattr(net, unused)
        self.backbone = net
        width = sum(net.stage4_cfg["num_channels"])
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, num_classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        net = self.backbone
        x = net.act2(net.bn2(net.conv2(net.act1(net.bn1(net.conv1(x))))))
        first, *others = net.stages(x)
        others = [F.interpolate(y, first.shape[-2:], mode="bilinear", align_corners=False) for y in others]
        scores: Tensor = self.head(torch.cat([first, *others], dim=1))
        return scores


MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "narrow-vgg": narrow_vgg,
        "cifar-vgg": cifar_vgg,
        "cifar-vgg16": cifar_vgg16,
        "cifar-resnet": cifar_resnet,
        "cifar-mobilenetv2": cifar_mobilenetv2,
        "hrnet-segmentation": HRNetSegmentation,
    }
)


def _library(name: str) -> Callable[..., nn.Module]:
    """The factory of a model of timm or torchvision."""
    try:
        name = full_name(name, "model.name", own=MODELS, classifiers=True)
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


def find_factory(config: ModelConfig) -> Callable[..., nn.Module]:
    """The callable that `config` names, which builds the network.

    Raises:
        ConfigError: for an unknown name (the message gives the nearest), or arguments that, as far as the signature of
            the callable tells, it does not take.
    """
    prefix, colon, _ = config.name.partition(":")
    if config.name in MODELS:
        factory = MODELS[config.name]
    else:
        factory = (_imported if colon and prefix not in LIBRARIES else _library)(config.name)
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


def build_model(config: ModelConfig, *, num_classes: int, in_channels: int) -> nn.Module:
    """The network that `config` names, with random weights from PyTorch's global generator.

    A factory is called as factory(num_classes=..., in_channels=..., **options). A name that both libraries have means
    timm's model, as in `dynpool.analysis.integrations.named_models`.

    Raises:
        ConfigError: as `find_factory` does, or for options that the factory rejects.
    """
    factory = find_factory(config)
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
