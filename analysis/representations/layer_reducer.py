"""One layer in a pass over the data: reduces its outputs batch by batch to what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .moments import Moments, moments_bytes

__all__ = ["Keep", "LayerActivations", "LayerReducer", "Places", "by"]

Places = dict[int, int]
"""{row of what is kept: image of the batch}"""

CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)


@dataclass(frozen=True)
class LayerActivations:
    """What was collected of one layer.

    Attributes:
        name: the module's path; from its second run in a forward pass on with "#2" and so on, as in field reports.
        base: the module's path.
        kind: its class.
        channels: of its output.
        size: extents of its output map in pixels, or (tokens,); empty without positions.
        features: (kept images, channels · cells) in float32, the map averaged to the grid; None if not collected.
        maps: (kept images, channels, height, width); None if not collected.
        moments: over all positions of all images; None if not collected.
    """

    name: str
    base: str
    kind: str
    channels: int
    size: tuple[int, ...]
    features: np.ndarray | None
    maps: np.ndarray | None
    moments: Moments | None


@dataclass(frozen=True)
class Keep:
    """What to keep of each layer, see `collect`."""

    features: bool
    moments: bool
    maps: frozenset[str]
    grid: int
    most_positions: int


class _Rows:
    """Rows of numbers that are kept, in an array that grows with them."""

    def __init__(self, width: Sequence[int]) -> None:
        self.array = np.empty((0, *width), np.float32)

    def put(self, places: Places, rows: Tensor, most: int) -> None:
        """Put rows of a batch, by the image, at their places."""
        need = max(places) + 1
        if need > len(self.array):
            self.array.resize((min(most, max(need, 2 * len(self.array))), *self.array.shape[1:]), refcheck=False)
        self.array[list(places)] = rows[list(places.values())].float().cpu().numpy()

    def first(self, count: int) -> np.ndarray:
        """The first rows; the others are given up."""
        self.array.resize((count, *self.array.shape[1:]), refcheck=False)
        return self.array


class LayerReducer:
    """One run of a layer in each forward pass: reduces its outputs."""

    def __init__(self, name: str, base: str, module: nn.Module, output: Tensor, keep: Keep) -> None:
        self.base, self.name = base, name
        self.module, self.keep = module, keep
        maps = self.maps(output)
        self.channels, self.size = maps.shape[1], tuple(maps.shape[2:])
        self.rows: dict[str, _Rows] = {}
        if keep.features:
            self.rows["features"] = _Rows(self.cells(maps)[0].shape)
        if base in keep.maps:
            if len(self.size) != 2:
                raise ValueError(f"maps: layer {self.name!r} gives {self._said(output)}, which is no map of positions")
            self.rows["maps"] = _Rows(self.kept_map(maps)[0].shape)
        self.moments = Moments(self.channels, output.device) if keep.moments else None

    @property
    def fixed_bytes(self) -> int:
        """Bytes of the moments."""
        return 0 if self.moments is None else moments_bytes(self.channels)

    @property
    def bytes_per_image(self) -> int:
        """Bytes that are kept of each image."""
        return sum(4 * int(np.prod(rows.array.shape[1:])) for rows in self.rows.values())

    def maps(self, output: Any) -> Tensor:
        """The output with its channels in front of its positions: (images, channels, positions...)."""
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4) or not output.is_floating_point():
            raise ValueError(
                f"layer {self.name!r} gives {self._said(output)}; allowed: (images, channels), (images, tokens, "
                "channels) or (images, channels, height, width)"
            )
        last = isinstance(self.module, CHANNELS_LAST) or (output.ndim == 3 and not isinstance(self.module, nn.Conv1d))
        return output.movedim(-1, 1) if last else output

    def cells(self, maps: Tensor) -> Tensor:
        """(images, channels · cells), averaged to the grid."""
        grid = self.keep.grid
        if maps.ndim == 4:
            height, width = (min(n, grid) for n in maps.shape[2:])
            maps = F.adaptive_avg_pool2d(maps, (height, width))
        elif maps.ndim == 3:
            maps = F.adaptive_avg_pool1d(maps, min(maps.shape[2], grid * grid))
        return maps.flatten(1)

    def kept_map(self, maps: Tensor) -> Tensor:
        most = self.keep.most_positions
        height, width = (min(n, most) for n in maps.shape[2:])
        return maps if maps.shape[2:] == (height, width) else F.adaptive_avg_pool2d(maps, (height, width))

    def take(self, output: Any, places: Places, most: int, batch: int) -> None:
        """Add the outputs of a batch."""
        maps = self.maps(output)
        if (maps.shape[1], tuple(maps.shape[2:])) != (self.channels, self.size):
            raise ValueError(
                f"layer {self.name!r} gives maps of different sizes, {self._said(output)} in batch {batch}"
            )
        if not bool(torch.isfinite(maps).all()):
            raise ValueError(
                f"layer {self.name!r} gives NaN or infinite activations in batch {batch}: weights or images are not "
                "finite, or their precision does not suffice"
            )
        if self.moments is not None:
            self.moments.add(maps.flatten(2) if maps.ndim > 2 else maps[:, :, None])
        if not places:
            return
        reduce: dict[str, Callable[[Tensor], Tensor]] = {
            "features": self.cells,
            "maps": self.kept_map,
        }
        for what, rows in self.rows.items():
            rows.put(places, reduce[what](maps), most)

    def result(self, kept: int) -> LayerActivations:
        found = {what: rows.first(kept) for what, rows in self.rows.items()}
        return LayerActivations(
            self.name,
            self.base,
            type(self.module).__name__,
            self.channels,
            self.size,
            found.get("features"),
            found.get("maps"),
            self.moments,
        )

    def _said(self, output: Any) -> str:
        return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"


def by(extents: Iterable[int]) -> str:
    """Extents as "3x32x32"."""
    return "x".join(map(str, extents))
