"""Small networks of sequences and of volumes, for tests of what works along any number of axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block1d(nn.Module):
    """A basic block of a residual network of sequences."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, out, 7, stride, 3, bias=False)
        self.conv2 = nn.Conv1d(out, out, 7, 1, 3, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(out), nn.BatchNorm1d(out)
        changes = stride != 1 or channels != out
        self.shortcut = nn.Conv1d(channels, out, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet1d(nn.Sequential):
    """A residual network of sequences."""

    def __init__(self, channels: int = 2, classes: int = 3) -> None:
        super().__init__(
            nn.Conv1d(channels, 8, 7, 2, 3, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(3, 2, 1),
            Block1d(8, 8, 1), Block1d(8, 16, 2), Block1d(16, 16, 1),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, classes),
        )  # fmt: skip


class M5(nn.Module):
    """The audio network M5 of Dai et al. (2017), narrow: a convolution of 80 samples at stride 4, then pools by 4."""

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(c, d, k, s) for c, d, k, s in ((1, width, 80, 4), (width, width, 3, 1), (width, 2 * width, 3, 1))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(d) for d in (width, width, 2 * width))
        self.pool = nn.MaxPool1d(4)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.pool(F.relu(norm(conv(x))))
        return F.log_softmax(self.head(F.avg_pool1d(x, x.shape[-1]).squeeze(-1)), -1)


class Inception1d(nn.Module):
    """A module of InceptionTime (Fawaz et al., 2020)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(channels, width, 1, bias=False)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, k, padding="same", bias=False) for k in (10, 20, 40))
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(channels, width, 1, bias=False))
        self.norm = nn.BatchNorm1d(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bottleneck(x)
        return F.relu(self.norm(torch.cat([*(conv(y) for conv in self.convs), self.pooled(x)], 1)))


class InceptionTime(nn.Module):
    """InceptionTime of three modules and a shortcut; with `pools`, as it is used for long series, it halves them."""

    def __init__(self, channels: int = 2, width: int = 4, *, pools: bool = True) -> None:
        super().__init__()
        self.stem = nn.AvgPool1d(2) if pools else nn.Identity()
        self.modules_ = nn.ModuleList(Inception1d(c, width) for c in (channels, 4 * width, 4 * width))
        self.shortcut = nn.Sequential(nn.Conv1d(channels, 4 * width, 1), nn.BatchNorm1d(4 * width))
        self.head = nn.Linear(4 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = x = self.stem(x)
        for module in self.modules_:
            y = module(y)
        return self.head(F.relu(y + self.shortcut(x)).mean(-1))


class WaveNet(nn.Module):
    """Gated causal convolutions of growing dilation with skips, as in WaveNet, behind a strided convolution."""

    def __init__(self, channels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv1d(channels, width, 4, 4)
        self.dilations = (1, 2, 4)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=d) for d in self.dilations)
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in self.dilations)
        self.out = nn.Conv1d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        total: Any = 0
        for gate, skip, dilation in zip(self.gates, self.skips, self.dilations, strict=True):
            a, b = gate(F.pad(x, (dilation, 0))).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            total = total + skip(y)
            x = x + y
        return self.out(F.relu(total)).mean(-1)


class Wav2Vec(nn.Module):
    """A front end like that of wav2vec 2.0: strided convolutions without padding, then attention over its frames."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        kinds = ((1, 10, 5), (width, 3, 2), (width, 3, 2), (width, 2, 2))
        self.convs = nn.ModuleList(nn.Conv1d(c, width, k, s, bias=False) for c, k, s in kinds)
        self.norms = nn.ModuleList([nn.GroupNorm(width, width), *(nn.LayerNorm(width) for _ in kinds[1:])])
        self.position = nn.Conv1d(width, width, 9, padding=4, groups=2)
        self.layer = nn.TransformerEncoderLayer(width, 2, 16, batch_first=True)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x)
            x = norm(x) if isinstance(norm, nn.GroupNorm) else norm(x.transpose(1, 2)).transpose(1, 2)
            x = F.gelu(x)
        x = (x + F.gelu(self.position(x))).transpose(1, 2)
        return self.head(self.layer(x).mean(1))


class UNet3d(nn.Module):
    """A U-Net of volumes with skip connections: transposed convolutions, or interpolation, up."""

    def __init__(self, channels: int = 1, width: int = 4, *, transposed: bool = True) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList(nn.Conv3d(c, d, 3, padding=1) for c, d in ((channels, w), (w, 2 * w), (2 * w, 4 * w)))
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(c, d, 2, 2)
            if transposed
            else nn.Sequential(nn.Upsample(scale_factor=2, mode="trilinear"), nn.Conv3d(c, d, 1))
            for c, d in ((4 * w, 2 * w), (2 * w, w))
        )
        self.joined = nn.ModuleList(nn.Conv3d(2 * c, c, 3, padding=1) for c in (2 * w, w))
        self.out = nn.Conv3d(w, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for number, conv in enumerate(self.down):
            x = F.relu(conv(x if number == 0 else F.max_pool3d(x, 2)))
            skips.append(x)
        for up, conv, skip in zip(self.ups, self.joined, skips[-2::-1], strict=True):
            x = F.relu(conv(torch.cat([up(x), skip], 1)))
        return self.out(x)


# each with its input size, and how many resolutions are learned
NETWORKS_1D: dict[str, tuple[type[nn.Module], tuple[int, int], int]] = {
    "resnet": (ResNet1d, (2, 96), 3),
    "m5": (M5, (1, 2000), 4),
    "inception": (InceptionTime, (2, 120), 1),
    "wavenet": (WaveNet, (1, 256), 1),
    "wav2vec": (Wav2Vec, (1, 800), 4),
}
