"""Networks of published receptive-field tables that timm and torchvision do not have in the same form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import timm
import torch
import torchvision
from torch import nn

from tests.baselines.nets import named, nasnet_a_mobile

__all__ = ["network", "resnet50_small_stem", "vgg11_wide_pools"]


def network(name: str) -> nn.Module:
    """A network by library and name ("tv.vgg16") or by a name in `_MADE`, on the meta device."""
    if name not in _MADE:
        return named(name)
    with torch.device("meta"):
        return _MADE[name]()


def _alexnet_v2() -> nn.Module:
    """AlexNet as in TF-Slim, without padding before the first convolution."""
    model = torchvision.models.alexnet()
    model.features[0] = nn.Conv2d(3, 64, 11, 4)
    found: nn.Module = model
    return found


def _mobilenet_v1_same() -> nn.Module:
    """MobileNetV1 with TensorFlow's SAME padding, which depends on the size of the map."""
    model: nn.Module = timm.create_model("mobilenetv1_100", pad_type="same")
    return model


def _slim_resnet(blocks: Sequence[int]) -> nn.Module:
    """A ResNet as in TF-Slim: strides in the last block of a stage, and SAME padding at the pool of the stem."""
    model = torchvision.models.resnet.ResNet(torchvision.models.resnet.Bottleneck, list(blocks))
    stages = [model.layer1, model.layer2, model.layer3, model.layer4]
    for stage in stages[1:]:
        stage[0].conv2.stride = stage[0].downsample[0].stride = (1, 1)
    for stage in stages[:3]:
        stage[-1].conv2.stride = (2, 2)
        stage[-1].downsample = nn.MaxPool2d(1, 2)
    model.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)  # on an even map SAME pads only at the end
    return model


def vgg11_wide_pools(stride: int) -> nn.Module:
    """VGG-11's features with 3x3 pools and a strided first convolution: a field of 3 + 178 * stride pixels."""
    layers = [nn.MaxPool2d(3, 2, 1) if isinstance(m, nn.MaxPool2d) else m for m in torchvision.models.vgg11().features]
    layers[0].stride = (stride, stride)
    return nn.Sequential(*layers)


def resnet50_small_stem(stride: int) -> nn.Module:
    """ResNet-50 with a strided 3x3 convolution as its stem and no pool: a field of 3 + 104 * stride pixels."""
    model: nn.Module = torchvision.models.resnet50()
    model.conv1 = nn.Conv2d(3, 64, 3, stride, 1, bias=False)
    model.maxpool = nn.Identity()
    return model


_MADE: dict[str, Callable[[], nn.Module]] = {
    "nasnet_a_mobile": nasnet_a_mobile,
    "alexnet_v2": _alexnet_v2,
    "mobilenet_v1_same": _mobilenet_v1_same,
    "slim_resnet50": lambda: _slim_resnet((3, 4, 6, 3)),
    "slim_resnet101": lambda: _slim_resnet((3, 4, 23, 3)),
    "slim_resnet152": lambda: _slim_resnet((3, 8, 36, 3)),
    "slim_resnet200": lambda: _slim_resnet((3, 24, 36, 3)),
}
