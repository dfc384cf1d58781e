"""Centred kernel alignment with linear kernels from sums over batches: exact over all images, or unbiased."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

__all__ = ["FullBatchSums", "UnbiasedSums"]

CONSTANT = 1e-14  # variance over mean square below which features differ by the rounding of float32 only


class FullBatchSums:
    """Linear CKA over all images, from sums of products of features, in float64.

    With centred features X (images, p) and Y (images, q) of two layers, CKA = |X^T Y|^2 / (|X^T X| |Y^T Y|) in
    Frobenius norms (Kornblith et al., ICML 2019, Section 3). X^T Y needs p x q numbers, whatever the number of images.
    Features are shifted by the means of the first batch, so that little is lost where means are large.
    """

    LEAST = 2  # images

    def __init__(self) -> None:
        self.images = 0
        self.widths: tuple[list[int], list[int]] = ([], [])
        self.shifts: list[Tensor] = []
        self.sums: list[Tensor] = []
        self.cross = torch.empty(0)
        self.own: list[list[Tensor]] = []  # products of two features of one layer

    @staticmethod
    def memory(widths_a: Sequence[int], widths_b: Sequence[int], images: int) -> int:
        """Bytes of the sums for layers with so many features; images do not matter."""
        return 8 * (sum(widths_a) * sum(widths_b) + sum(n * n for n in (*widths_a, *widths_b)))

    def add(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> None:
        """Add the features (images, n) of all layers of both models for one batch."""
        both = [torch.cat([features.to(a[0].device) for features in layers], 1) for layers in (a, b)]
        if not self.images:
            self._start(a, b, [features.mean(0) for features in both])
        both = [features - shift for features, shift in zip(both, self.shifts, strict=True)]
        self.cross.addmm_(both[0].T, both[1])
        for total, own, features, widths in zip(self.sums, self.own, both, self.widths, strict=True):
            total += features.sum(0)
            for moment, part in zip(own, features.split(widths, 1), strict=True):
                moment.addmm_(part.T, part)
        self.images += len(both[0])

    def _start(self, a: Sequence[Tensor], b: Sequence[Tensor], shifts: list[Tensor]) -> None:
        self.shifts, self.sums = shifts, [torch.zeros_like(shift) for shift in shifts]
        self.widths = ([f.shape[1] for f in a], [f.shape[1] for f in b])
        self.cross = shifts[0].new_zeros(sum(self.widths[0]), sum(self.widths[1]))
        self.own = [[shifts[0].new_zeros(n, n) for n in widths] for widths in self.widths]

    def matrix(self) -> Tensor:
        """CKA of each layer of the first model (rows) with each of the second; NaN where a layer is constant."""
        ends = [[0, *accumulate(widths)] for widths in self.widths]
        norms = [
            torch.stack(
                [
                    (moment - torch.outer(part, part) / self.images).norm()
                    for moment, part in zip(own, total.split(widths), strict=True)
                ]
            )
            for own, total, widths in zip(self.own, self.sums, self.widths, strict=True)
        ]
        for norm, own, shift, widths in zip(norms, self.own, self.shifts, self.widths, strict=True):
            shifts = [self.images * part.square().max() for part in shift.split(widths)]
            scale = torch.stack([moment.diagonal().max() + square for moment, square in zip(own, shifts, strict=True)])
            norm[norm <= CONSTANT * scale] = torch.nan
        found = torch.empty(len(self.widths[0]), len(self.widths[1]), dtype=torch.float64)
        for i, (top, bottom) in enumerate(zip(ends[0], ends[0][1:], strict=False)):
            for j, (left, right) in enumerate(zip(ends[1], ends[1][1:], strict=False)):
                means = torch.outer(self.sums[0][top:bottom], self.sums[1][left:right]) / self.images
                shared = (self.cross[top:bottom, left:right] - means).square().sum()
                found[i, j] = shared / (norms[0][i] * norms[1][j])
        return found


class UnbiasedSums:
    """Linear CKA from the unbiased estimates of HSIC of each batch, averaged over batches.

    HSIC_1 of Song et al. (JMLR 2012), as in Nguyen, Raghu and Kornblith (ICLR 2021), Eq. 3 and 4. It is computed as the
    inner product of U-centred kernel matrices (Szekely and Rizzo, 2014) / (n (n - 3)), which is the same number.
    """

    LEAST = 4  # images in a batch

    def __init__(self) -> None:
        self.images = self.batches = 0
        self.cross = torch.empty(0)
        self.own: list[Tensor] = []
        self.largest: list[Tensor] = []

    @staticmethod
    def memory(widths_a: Sequence[int], widths_b: Sequence[int], images: int) -> int:
        """Bytes of the kernel matrices of all layers for a batch of so many images."""
        return 8 * (len(widths_a) + len(widths_b)) * images**2

    def add(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> None:
        """Add the features (images, n) of all layers of both models for one batch of at least four images."""
        n = len(a[0])
        if not self.batches:
            self.own = [a[0].new_zeros(len(layers)) for layers in (a, b)]
            self.largest = [torch.zeros_like(own) for own in self.own]
            self.cross = a[0].new_zeros(len(a), len(b))
        both = []
        for layers, largest in zip((a, b), self.largest, strict=True):
            moved = [features.to(a[0].device) for features in layers]
            torch.maximum(largest, torch.stack([f.square().sum(1).max() for f in moved]).square(), out=largest)
            both.append(torch.stack([_u_centred(f - f.mean(0)).flatten() for f in moved]))
        scale = n * (n - 3)
        self.cross += both[0] @ both[1].T / scale
        for total, kernels in zip(self.own, both, strict=True):
            total += kernels.square().sum(1) / scale
        self.images += n
        self.batches += 1

    def matrix(self) -> Tensor:
        """CKA of each layer of the first model (rows) with each of the second; NaN where a layer is constant."""
        for own, largest in zip(self.own, self.largest, strict=True):
            own[own <= CONSTANT**2 * self.batches * largest] = torch.nan
        return (self.cross / torch.outer(self.own[0].sqrt(), self.own[1].sqrt())).cpu()


def _u_centred(features: Tensor) -> Tensor:
    """The U-centred linear kernel matrix (n, n) of features (n, p); it does not depend on the mean of the features."""
    n = len(features)
    kernel = (features @ features.T).fill_diagonal_(0.0)
    rows = kernel.sum(1) / (n - 2)
    centred = kernel - rows[:, None] - rows[None, :] + kernel.sum() / ((n - 1) * (n - 2))
    return centred.fill_diagonal_(0.0)
