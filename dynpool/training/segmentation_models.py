"""Networks for segmentation, which score every pixel: HRNet with its segmentation head, and a U-Net."""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.common.arguments import check_whole, is_whole
from dynpool.common.names import nearest

__all__ = ["HRNetSegmentation", "UNet"]


class HRNetSegmentation(nn.Module):
    """A high-resolution network (Sun et al., CVPR 2019) with its segmentation head: (N, C, H, W) to class scores.

    The maps of all branches are interpolated to the size of the first and concatenated; two 1x1 convolutions follow,
    the first with as many channels, batch norm and ReLU. Scores have the first branch's size, a quarter of the image's.

    Args:
        num_classes: channels of the scores.
        in_channels: channels of the image.
        backbone: timm's name of an HRNet.
        width: channels of the first branch; the others have 2, 4 and 8 times as many, the stem's first convolution 4
            times, and the blocks behind it twice (of 64 and 64 in the backbone). None: those of the backbone.
        blocks: residual blocks in a row, in the stem and in each branch; None: those of the backbone.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        backbone: str = "hrnet_w48",
        width: int | None = None,
        blocks: int | None = None,
    ) -> None:
        import timm
        from timm.models import hrnet

        super().__init__()
        names = timm.list_models("hrnet*")
        if backbone not in names:
            raise ValueError(f"backbone={backbone!r}: expected an HRNet of timm{nearest(str(backbone), names)}")
        if width is None and blocks is None:
            net = timm.create_model(backbone, in_chans=in_channels, num_classes=0)
        else:
            check_whole(1, **{key: value for key, value in (("width", width), ("blocks", blocks)) if value is not None})
            design = copy.deepcopy(hrnet.cfg_cls[backbone])
            for stage in (design[f"stage{number}"] for number in (1, 2, 3, 4)):
                branches = stage["num_branches"]
                if width is not None:
                    stage["num_channels"] = tuple(width * 2**branch for branch in range(branches))
                if blocks is not None:
                    stage["num_blocks"] = (blocks,) * branches
            if width is not None:
                design["stem_width"], design["stage1"]["num_channels"] = 4 * width, (2 * width,)
            net = hrnet.HighResolutionNet(design, in_chans=in_channels, num_classes=0)
        for unused in ("incre_modules", "downsamp_modules", "final_layer", "global_pool", "head_drop", "classifier"):
            delattr(net, unused)
        self.backbone = net
        channels = sum(net.stage4_cfg["num_channels"])
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, num_classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        net = self.backbone
        x = net.act2(net.bn2(net.conv2(net.act1(net.bn1(net.conv1(x))))))
        first, *others = net.stages(x)
        others = [F.interpolate(y, first.shape[-2:], mode="bilinear", align_corners=False) for y in others]
        scores: Tensor = self.head(torch.cat([first, *others], dim=1))
        return scores


class UNet(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) with padded convolutions: (N, C, H, W) to class scores of that size.

    Each level has two 3x3 convolutions with batch norm and ReLU; max pooling by 2 leads to the next. On the way up a
    map is interpolated to the size of its skip connection's, with which it is concatenated, so that the sizes on the
    way up follow from those on the way down.

    Args:
        num_classes: channels of the scores.
        in_channels: channels of the image.
        widths: channels of each level.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, *, widths: Sequence[int] = (8, 16, 32, 64)) -> None:
        super().__init__()
        if not isinstance(widths, (list, tuple)) or not widths or not all(is_whole(w) and w > 0 for w in widths):
            raise ValueError(f"widths={widths!r}: expected a non-empty list of positive integers")
        above = [in_channels, *widths[:-1]]
        self.down = nn.ModuleList(_level(before, width) for before, width in zip(above, widths, strict=True))
        self.pool = nn.ModuleList(nn.MaxPool2d(2) for _ in widths[1:])
        self.up = nn.ModuleList(_level(width + below, width) for width, below in pairwise(widths))
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down[0](x)
        skips = []
        for pool, level in zip(self.pool, self.down[1:], strict=True):
            skips.append(x)
            x = level(pool(x))
        for skip, level in zip(reversed(skips), reversed(self.up), strict=True):
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = level(torch.cat([skip, x], dim=1))
        scores: Tensor = self.head(x)
        return scores


def _level(before: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (before, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
