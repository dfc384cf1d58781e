"""Shape Adaptor: a resizer that mixes a downsampled and a full-resolution branch with a learned weight.

    w = sigmoid(alpha),  s = r1 + (r2 - r1) * w
    out = (1 - w) * resize(F1(x)) + w * resize(F2(x))        both bilinear, to the size that s gives

In residual blocks, where the branches are added, the result is doubled. F1 has the ratio r1 (a 2x2 max pool: 1/2, or a
residual block's strided shortcut), F2 the ratio r2 (the identity: 1, or the block's weight branch). The size is
computed on the host, so the gradient reaches alpha only through the weights.

Reference: Liu et al., "Shape Adaptor: A Learnable Resizing Module", ECCV 2020, section 3. Written from its formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dynpool.common.arguments import check_flags, check_numbers
from dynpool.resizers import Chain, LearnedResizer2d, Reduce, as_pair, check_reduce
from dynpool.size_math import Pair, Size, bilinear_kernel

from .mixture import (
    Bookkeeping,
    FixedShapeAdaptor2d,
    check_bookkeeping,
    check_form,
    check_map,
    pool,
    shape_adaptor2d,
)
from .size_math import (
    ALPHA_LIMIT,
    PUBLISHED_ALPHA_LIMIT,
    adapted_size,
    alpha_for,
    scale_factor,
    scales_between,
    shrink_factor,
)

__all__ = ["ShapeAdaptor2d"]


class ShapeAdaptor2d(LearnedResizer2d):
    """Resizing by a learned mixture of two branches (Liu et al., ECCV 2020); see :func:`shape_adaptor2d`.

    Shape: (N, C, H, W) to (N, C, floor(H * s), floor(W * s)), at least 1 pixel, with s between r1 and r2. In networks
    made by :func:`dynpool.convert` or :func:`dynpool.baselines.shape_adaptor_network` the tree of resolutions sets the
    sizes.

    The first branch pools with ``strides``, rounded to whole pixels, and r1 is their inverse. The second branch is the
    map itself, r2 = 1. One number for both axes is learned: the parameter ``alpha`` of shape (1,), not weight-decayed.

    Args:
        strides: strides of the layer replaced, one number or (height, width). With ``tied_to`` this and all following
            arguments but ``reduce`` are ignored.
        alpha: initial value. The paper uses -2.19 (w = 0.1, so s is near 0.55 with strides of 2) for adaptors that
            replace a network's own resizers (AutoTL), and 2.19 for additional ones (AutoSC).
        reduce: reduction of the first branch: "max", "mean" or "sample" (a strided slice).
        bookkeeping: "local": each size is rounded down, ``floor(D * s)``; "global": the tree of resolutions carries
            fractions on, and each map has the nearest whole number of pixels.
        limit: memory-bounded training: the largest size in pixels along an axis behind the last adaptor of a network.
            All s are multiplied by ``p = min(1, (limit / D_n) ** (1 / n))``, with n adaptors and D_n the last size
            without the limit, and ``w = (s * p - r1) / (r2 - r1)``, at least 0. It has no effect on an adaptor outside
            of such a network.
        residual: the form for residual blocks: the caller passes both branches, and their mixture is doubled.
        align_corners: as in :func:`shape_adaptor2d`.
        published: as the authors' code (docs/baselines.md): a memory bound can make w negative, a single output pixel
            is the first one, with "global" bookkeeping pools round up, and alpha has no limit of its own.
        bounds: lowest and highest scale factor per axis, in addition to r1 and r2.
        tied_to: another ShapeAdaptor2d whose alpha and settings this one uses; it is not registered as a child.

    Raises:
        TypeError: if ``tied_to`` is not a ShapeAdaptor2d, or alpha or strides are not numbers.
        ValueError: if an argument is out of range.

    >>> ShapeAdaptor2d(alpha=0.0)(torch.zeros(1, 8, 32, 20)).shape
    torch.Size([1, 8, 24, 15])
    """

    def __init__(
        self,
        strides: float | Sequence[float] = 2.0,
        *,
        alpha: float = -2.19,
        reduce: Reduce = "max",
        bookkeeping: Bookkeeping = "local",
        limit: float | None = None,
        residual: bool = False,
        align_corners: bool = True,
        published: bool = False,
        bounds: Pair = (1 / 8, 2.0),
        tied_to: ShapeAdaptor2d | None = None,
    ) -> None:
        check_reduce(reduce)
        check_bookkeeping(bookkeeping)
        check_flags(residual=residual, align_corners=align_corners, published=published)
        check_limit(limit)
        self.published = published  # before super().__init__, whose check of alpha reads it
        super().__init__(alpha, bounds=bounds, tied_to=tied_to, shared=True)
        root = self.root()
        self.published = root.published
        self.reduce: Reduce = reduce
        self.kernel: Size = _kernel(strides) if tied_to is None else root.kernel
        self.bookkeeping: Bookkeeping = bookkeeping if tied_to is None else root.bookkeeping
        self.limit: float | None = limit if tied_to is None else root.limit
        self.residual: bool = residual if tied_to is None else root.residual
        self.align_corners: bool = align_corners if tied_to is None else root.align_corners
        self.keeps_fractions = self.bookkeeping == "global"
        self.looks_at_chains = self.limit is not None
        self.register_buffer("share", torch.ones(()) if tied_to is None else None, persistent=False)  # p

    @property
    def ratios(self) -> tuple[Pair, Pair]:
        """(r1, r2) along the height and along the width."""
        return (1.0 / self.kernel[0], 1.0), (1.0 / self.kernel[1], 1.0)

    def weight(self) -> Tensor:
        """w, the weight of the branch that keeps the resolution: (1,), with a gradient to alpha."""
        weight = torch.sigmoid(self.shared_alpha())
        if self.looks_at_chains:
            share = self.root().share
            low, high = min(self.ratios)  # of the axis that is reduced more
            weight = ((low + (high - low) * weight) * share - low) / (high - low)
            weight = weight if self.published else weight.clamp(min=0.0)
        return weight

    def forward(self, x: Tensor, size: Size | None = None, *, down: Tensor | None = None) -> Tensor:
        """The mixture at ``size`` (H_out, W_out); by default the size that alpha gives for x.

        Args:
            x: (N, C, H, W); in the residual form the output of the block's weight branch.
            size: output size in pixels.
            down: (N, C, H1, W1), only in the residual form: the output of its strided shortcut.
        """
        check_map("x", x)
        check_form(self.residual, down)
        low = pool(x, self.kernel, self.reduce, ceil_mode=self._rounds_up) if down is None else down
        if size is None:
            size = self._compiled_size(x) if torch.compiler.is_compiling() else self.own_size(x)
        return shape_adaptor2d(
            low,
            x,
            self.weight(),
            size,
            residual=self.residual,
            align_corners=self.align_corners,
            published=self.published,
        )

    @property
    def _rounds_up(self) -> bool:
        """Whether the pools of the first branch round up."""
        return self.published and self.keeps_fractions

    @property
    def _alpha_limit(self) -> float:
        return PUBLISHED_ALPHA_LIMIT if self.published else ALPHA_LIMIT

    def _compiled_size(self, x: Tensor) -> Size:
        ratios = [number for pair in self.ratios for number in pair]
        height, width = _own_size(
            self.shared_alpha().detach(), *x.shape[-2:], ratios, self.keeps_fractions, self._alpha_limit
        ).tolist()
        torch._check(height >= 1)
        torch._check(width >= 1)
        return height, width

    # -- the interface that the tree of resolutions uses --

    def strides(self, values: Pair) -> Pair:
        """1 / s along height and width."""
        h, w = (1.0 / scale_factor(values[0], ratios) for ratios in self.ratios)
        return h, w

    def learned_strides(self, alpha: Tensor) -> Tensor:
        """1 / s along height and width, (1,) to (2,), differentiable."""
        (low_h, high_h), (low_w, high_w) = self.ratios
        weight = torch.sigmoid(alpha)
        return 1.0 / torch.cat([low_h + (high_h - low_h) * weight, low_w + (high_w - low_w) * weight])

    def output_size(self, size: Pair, strides: Pair) -> Size:
        """``floor(size * s)``, with global bookkeeping rounded to the nearest; at least 1 pixel."""
        h, w = (adapted_size(n, 1.0 / s, fractions=self.keeps_fractions) for n, s in zip(size, strides, strict=True))
        return h, w

    def values_of(self, strides: Pair) -> Pair:
        """The alpha that gives the axis that is reduced more this stride, or the nearest one it can have."""
        ratios = min(self.ratios)
        margin = 1e-6 * (ratios[1] - ratios[0])
        scale = 1.0 / strides[self.ratios.index(ratios)]
        alpha = alpha_for(min(max(scale, ratios[0] + margin), ratios[1] - margin), ratios)
        return alpha, alpha

    def values_for(self, size_in: Pair, size_out: Size) -> Pair:
        """The alpha that resizes ``size_in`` to ``size_out`` along both axes.

        Raises:
            ValueError: if there is none: s must lie between r1 and r2, and both axes need the same w.
        """
        weights: list[Pair] = []
        for n, wanted, (low, high) in zip(size_in, size_out, self.ratios, strict=True):
            if low == high and n == wanted:
                continue
            first, end = scales_between(n, wanted, fractions=self.keeps_fractions)
            span = high - low or math.inf
            weights.append((max((first - low) / span, 0.0), min((end - low) / span, 1.0)))
        lower, upper = max(first for first, _ in weights), min(end for _, end in weights)
        weight = (lower + upper) / 2
        if not (lower < upper and 0 < weight < 1):
            ratios = " and ".join(f"({low:g}, {high:g})" for low, high in self.ratios)
            raise ValueError(
                f"no alpha resizes {tuple(size_in)} to {tuple(size_out)} pixels: one weight serves both axes, and "
                f"the scale factors along height and width lie within {ratios}"
            )
        alpha = alpha_for(weight, (0.0, 1.0))
        return alpha, alpha

    def checked(self, values: float | Sequence[float]) -> Pair:
        """Alpha as two equal float32 numbers from -12 to 12; from -700 to 700 as published."""
        message = f"alpha={values!r}: expected one number from {-self._alpha_limit:g} to {self._alpha_limit:g}"
        pair = as_pair(values, message)
        if not (pair[0] == pair[1] and abs(pair[0]) <= self._alpha_limit):
            raise ValueError(message)
        return pair

    def project(self, values: Pair, previous: Pair, trust: float | None) -> Pair:
        """The nearest finite alpha within bounds whose s is within a factor of ``1 + trust`` of the previous one."""
        low, high = ratios = min(self.ratios)
        at_least, at_most = self.bounds
        if trust is not None:
            before = scale_factor(previous[0], ratios)
            at_least, at_most = max(at_least, before / (1 + trust)), min(at_most, before * (1 + trust))
        limit = self._alpha_limit
        lowest = alpha_for(at_least, ratios) if low < at_least < high else -limit
        highest = alpha_for(at_most, ratios) if low < at_most < high else limit
        value = values[0] if math.isfinite(values[0]) else previous[0]
        alpha = min(max(value, lowest, -limit), highest, limit)
        return alpha, alpha

    @classmethod
    def chain_factor(cls, chains: Sequence[Chain]) -> Pair:
        """p of memory-bounded training, the same for both axes: the smallest that any chain needs."""
        factors = [1.0]
        for chain in chains:
            adaptors = [resizer for resizer in chain.resizers if isinstance(resizer, cls)]
            limit = min((adaptor.limit for adaptor in adaptors if adaptor.limit is not None), default=None)
            factors.append(shrink_factor(limit, max(chain.size), len(adaptors)))
        return min(factors), min(factors)

    def scaled_by(self, factor: Pair | None) -> None:
        """Store p for the weights of the next pass."""
        alpha = self.shared_alpha()
        self.share = torch.full((), 1.0 if factor is None else factor[0], dtype=alpha.dtype, device=alpha.device)

    def footprint(self, size_in: int, size_out: int, axis: int) -> Pair:
        """Footprint in pixels of the narrower and of the wider of the two branches."""
        averaged = self.align_corners and not self.published and size_out == 1  # then an output pixel is a mean
        kept = size_in if averaged else bilinear_kernel(size_in, size_out, align_corners=self.align_corners)
        if self.residual:
            return kept, kept
        kernel = min(self.kernel[axis], size_in)
        count = -(-size_in // kernel) if self.reduce == "sample" or self._rounds_up else size_in // kernel
        windows = count if averaged else bilinear_kernel(count, size_out, align_corners=self.align_corners)
        pooled = (windows - 1) * kernel + (1 if self.reduce == "sample" else kernel)
        return min(kept, pooled), max(kept, pooled)

    def frozen(self, size: Size) -> FixedShapeAdaptor2d:
        """This adaptor with its current weight and a fixed size."""
        return FixedShapeAdaptor2d(
            size,
            self.weight().item(),
            kernel=self.kernel,
            reduce=self.reduce,
            bookkeeping=self.bookkeeping,
            residual=self.residual,
            align_corners=self.align_corners,
            published=self.published,
        )

    def extra_repr(self) -> str:
        """Alpha and the settings, as shown by print."""
        alpha = self.shared_alpha()
        value = "meta" if alpha.is_meta else f"{alpha.item():.4g}"
        limit = "" if self.limit is None else f", limit={self.limit:g}"
        marks = "".join(f", {mark}" for mark, on in (("published", self.published), ("tied", self._tied)) if on)
        return f"alpha={value}, kernel={self.kernel}, reduce={self.reduce!r}, {self.bookkeeping}{limit}{marks}"


def check_limit(limit: float | None) -> None:
    """Raise unless ``limit`` is a number of pixels of at least 1, or None."""
    if limit is not None:
        check_numbers("a number of pixels of at least 1, or None", lambda n: 1 <= n < math.inf, limit=limit)


def _kernel(strides: float | Sequence[float]) -> Size:
    """The kernel size of the pooling branch: the strides rounded to whole pixels."""
    message = f"strides={strides!r}: expected one or two (height, width) numbers of at least 1, one of at least 1.5"
    h, w = (math.floor(stride + 0.5) for stride in as_pair(strides, message))
    if min(h, w) < 1 or max(h, w) < 2:
        raise ValueError(message)
    return h, w


@torch.library.custom_op("dynpool::shape_adaptor_size", mutates_args=())
def _own_size(alpha: Tensor, height: int, width: int, ratios: Sequence[float], fractions: bool, limit: float) -> Tensor:
    """The output size as a CPU tensor of two int64, so that one compiled graph serves all sizes."""
    value = min(max(alpha.item(), -limit), limit)
    sizes = [
        adapted_size(n, scale_factor(value, (low, high)), fractions=fractions)
        for n, low, high in zip((height, width), ratios[::2], ratios[1::2], strict=True)
    ]
    return torch.tensor(sizes, dtype=torch.int64, device="cpu")


@_own_size.register_fake
def _(alpha: Tensor, height: int, width: int, ratios: Sequence[float], fractions: bool, limit: float) -> Tensor:
    return torch.empty(2, dtype=torch.int64, device="cpu")
