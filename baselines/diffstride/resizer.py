"""DiffStride2d: pooling in the frequency domain with learned strides (Riad et al., ICLR 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dynpool.common.arguments import check_flags
from dynpool.resizers import LearnedResizer2d, Reduce, check_reduce, constrain_resizers, has_values, host_alphas
from dynpool.size_math import Pair, Size, alpha_range

from .function import FixedDiffStride2d, diffstride2d, uncropped_size
from .size_math import check_smoothness, diffstride_size, diffstride_stride, least_strides
from .spectral import Norm, check_map, check_norm, check_published

__all__ = ["DiffStride2d"]


class DiffStride2d(LearnedResizer2d):
    """Spectral pooling with a learned stride per axis (Riad et al., ICLR 2022); see :func:`diffstride2d`.

    Shape: (N, C, H, W) or (C, H, W) to the same with (H_out, W_out). On its own it resizes a map to
    :func:`.size_math.diffstride_size`: 32 pixels to 24 at stride 2. :func:`dynpool.convert` starts it at the strides of
    the layers it replaces, as published. Maps are then larger than those of the original layers, as the ramp of the
    gain adds R frequencies on either side; a map of up to 2R + 2 pixels is not cropped at all. Its receptive field is
    the whole axis. It keeps low frequencies whatever the replaced layer did, so ``preserve=True`` has no effect.

    Args:
        alpha: initial stride in input pixels per output pixel, one number or (height, width). Learned as the float32
            parameter ``alpha`` of shape (2,). Values below 1 count as 1, with the gradient passed straight through.
        smoothness: R, the width of the ramp of the gain, in frequencies.
        shared: learn one stride for both axes, the first entry of ``alpha``. A pair is replaced by its geometric mean.
        symmetric: give frequencies +m and -m the same gain; it has another rule for sizes: 32 pixels to 23 at stride 2.
        cropping: False keeps the size and only removes frequencies.
        norm: normalisation of the transforms: "backward" (published), "ortho" (keeps the energy) or "forward" (keeps
            the amplitude).
        published: as the authors' code (docs/baselines.md): see :func:`diffstride2d`; besides, the lower bound of a
            stride on a map is written into alpha in every pass. Not with ``symmetric`` or another norm.
        reduce: "max", "mean" or "sample"; ignored, as :func:`dynpool.convert` passes it to every resizer.
        bounds: lowest and highest scale factor (1 / stride) per axis. Ignored if ``tied_to`` is given.
        tied_to: another DiffStride2d whose alpha, ``shared``, ``published`` and bounds this one uses; it is not
            registered as a child.

    Raises:
        TypeError: if alpha is not one or two numbers, or ``tied_to`` is not a DiffStride2d.
        ValueError: if alpha is outside the bounds, or another argument is out of range.

    >>> pool = DiffStride2d((2.0, 3.0))
    >>> pool(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 8, 24, 20])
    """

    _least: Pair = (0.0, 0.0)  # of published strides: the bound of the map that is being resized

    def __init__(
        self,
        alpha: float | Sequence[float] = 2.0,
        *,
        smoothness: float = 4.0,
        shared: bool = False,
        symmetric: bool = False,
        cropping: bool = True,
        norm: Norm = "backward",
        published: bool = False,
        reduce: Reduce = "max",
        bounds: Pair = (1 / 8, 1.0),
        tied_to: DiffStride2d | None = None,
    ) -> None:
        check_smoothness(smoothness)
        check_norm(norm)
        check_reduce(reduce)
        check_flags(shared=shared, cropping=cropping)
        self.shared = shared  # before super().__init__, whose check of alpha reads it
        super().__init__(alpha, bounds=bounds, tied_to=tied_to)
        root = self.root()
        self.shared = root.shared
        self.published: bool = published if tied_to is None else root.published
        check_published(self.published, norm=norm, symmetric=symmetric)
        self.smoothness, self.symmetric, self.cropping = float(smoothness), symmetric, cropping
        self.norm: Norm = norm
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor, size: Size | None = None) -> Tensor:
        """x resized to ``size`` (H_out, W_out); by default the size that alpha gives."""
        check_map(x)
        if self.published:
            self._write_bound(x)
        strides = self.learned_strides(self.shared_alpha())
        return diffstride2d(
            x,
            strides[:1] if self.shared else strides,
            smoothness=self.smoothness,
            symmetric=self.symmetric,
            norm=self.norm,
            published=self.published,
            size=self.own_size(x) if size is None else size,
        )

    @torch.compiler.disable  # as for the function
    def own_size(self, x: Tensor) -> Size:
        """(H_out, W_out) that alpha gives for x, after alpha has been brought into its bounds."""
        return super().own_size(x)

    def output_size(self, size: Pair, strides: Pair) -> Size:
        """:func:`dynpool.baselines.diffstride.size_math.diffstride_size`, or ``size`` itself without cropping."""
        pixels = int(size[0]), int(size[1])
        if not self.cropping:
            return uncropped_size(pixels, self.published)
        return diffstride_size(
            pixels,
            strides,
            self.smoothness,
            symmetric=self.symmetric,
            shared=self.shared,
            published=self.published,
        )

    @torch.compiler.disable  # it reads and writes the parameter
    def _write_bound(self, x: Tensor) -> None:
        """Raise alpha to the least strides of x, as far as the bounds allow and they are finite."""
        if not has_values(x):
            return
        root = self.root()
        found = least_strides((x.shape[-2], x.shape[-1]), self.smoothness, shared=self.shared, published=True)
        root._least = found[0] if math.isfinite(found[0]) else 1.0, found[1] if math.isfinite(found[1]) else 1.0
        try:
            constrain_resizers([root], trust=None)
        finally:
            root._least = (0.0, 0.0)

    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        """Infinity: every frequency depends on the whole axis."""
        return math.inf, math.inf

    def frozen(self, size: Size) -> FixedDiffStride2d:
        """This module with fixed strides and a fixed size."""
        strides = self.strides(host_alphas([self])[0])
        return FixedDiffStride2d(
            strides[0] if self.shared else strides,
            size,
            smoothness=self.smoothness,
            symmetric=self.symmetric,
            norm=self.norm,
            published=self.published,
        )

    def strides(self, values: Pair) -> Pair:
        """The strides in use: alpha clipped below at 1, or its first entry for both axes if they share one."""
        height, width = (max(value, 1.0) for value in values)
        return (height, height) if self.shared else (height, width)

    def learned_strides(self, alpha: Tensor) -> Tensor:
        """:meth:`strides` as a tensor, with a straight-through gradient to alpha at the lower bound."""
        alpha = alpha[:1].expand(2) if self.shared else alpha
        return torch.where(alpha < 1, 1 + (alpha - alpha.detach()), alpha)

    def values_for(self, size_in: Pair, size_out: Size) -> Pair:
        """Strides that resize a map of ``size_in`` (height, width) pixels to ``size_out``.

        Raises:
            ValueError: if there are none: rows come in pairs, and at least about 2R of them remain.
        """
        pixels = int(size_in[0]), int(size_in[1])
        height, width = (diffstride_stride(n, out, self.smoothness) for n, out in zip(pixels, size_out, strict=True))
        tried = [(height, height), (width, width)] if self.shared else [(height, width)]
        found = {self.output_size(pixels, strides): strides for strides in tried}
        if (size_out[0], size_out[1]) not in found:
            raise ValueError(
                f"size={tuple(size_out)} cannot be reached from {pixels} by DiffStride with {self._options()}: "
                f"the nearest size is {' or '.join(map(str, found))}"
            )
        return found[size_out[0], size_out[1]]

    def checked(self, values: float | Sequence[float]) -> Pair:
        """The given strides as float32 numbers within the bounds; their geometric mean for axes that share one."""
        height, width = super().checked(values)
        return super().checked(math.sqrt(height * width)) if self.shared and height != width else (height, width)

    def project(self, values: Pair, previous: Pair, trust: float | None) -> Pair:
        """The admissible values nearest to ``values``; of a shared stride, the second entry follows the first."""
        height, width = super().project(values, previous, trust)
        highest = alpha_range(self.bounds)[1]
        height, width = (min(max(v, n), highest) for v, n in zip((height, width), self._least, strict=True))
        return (height, height) if self.shared else (height, width)

    def extra_repr(self) -> str:
        """Alpha, the options and the bounds, as shown by print."""
        alpha = self.shared_alpha()
        values = ", ".join(f"{value:.4g}" for value in alpha.tolist()) if not alpha.is_meta else "meta"
        tied = ", tied" if self._tied else ""
        return f"alpha=({values}), {self._options()}, bounds=({self.bounds[0]:g}, {self.bounds[1]:g}){tied}"

    def _options(self) -> str:
        options = [f"smoothness={self.smoothness:g}", f"norm={self.norm!r}"]
        options += [name for name in ("shared", "symmetric", "published") if getattr(self, name)]
        return ", ".join([*options, *([] if self.cropping else ["cropping=False"])])
