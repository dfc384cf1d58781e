"""FlexConv: a convolution whose kernel is sampled from a small network and cropped by a mask of learned size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynpool.common.arguments import check_flags, check_numbers, check_whole
from dynpool.resizers import LearnedKernelConv2d, has_values, padding_of
from dynpool.size_math import Pair, Size

from .antialiasing import SIGMA_CUT, kernel_bandwidth, magnet_bandwidth
from .fft_convolution import fft_conv2d, fft_is_faster
from .magnet import MAGNet
from .mask import ROUNDING, THRESHOLD, axis_points, check_sigma, gaussian, live_radius, sigma_range

__all__ = ["Evaluation", "FlexConv2d", "check_largest"]

Evaluation = Literal["auto", "spatial", "fft"]

_LEAST = 1e-6  # sigma where it has no bounds: zero has no mask


class FlexConv2d(LearnedKernelConv2d):
    """A convolution with a learned kernel size: FlexConv (Romero et al., ICLR 2022, arXiv 2110.08059).

    The kernel is that of a small network of coordinates, :class:`MAGNet`, times a Gaussian mask (Eq. 1), sampled at
    ``largest`` points from -1 to 1 along each axis:

        psi(y, x) = exp(-((y - mu_y) / sigma_y)^2 / 2) * exp(-((x - mu_x) / sigma_x)^2 / 2) * MAGNet(y, x).

    Rows and columns where the mask of their axis is below ``threshold`` are not computed: the live kernel is the middle
    ``2 r + 1`` points, r that of :func:`.mask.live_radius`. mu and sigma are learned with the network, for height and
    width apart; the number of parameters does not depend on the size.

    Shape: (N, C_in, H, W) to (N, C_out, H_out, W_out), the sizes of `nn.Conv2d` with ``kernel_size``, ``stride`` and
    ``padding``.

    Where this differs from the published code: sigma has bounds (:func:`.mask.sigma_range`: the kernel does not get
    smaller than 3 pixels, below which sigma has no gradient) and mu stays within [-1, 1]; groups are allowed; the
    network's last layer is scaled at the start so that outputs have the variance of a new `nn.Conv2d`.

    Args:
        in_channels, out_channels, stride, groups, bias, dilation, padding_mode: as for `nn.Conv2d`; dilation 1, zeros.
        kernel_size, padding: those of the convolution that this one stands in for; they give the size of the output.
        largest: points of the largest kernel, one odd number or (height, width), at least 3. The published networks
            take the size of the map, made odd.
        sigma: initial standard deviation of the mask, one number or (height, width), on kernels from -1 to 1.
        threshold: T_m, the value of the mask below which rows and columns are cropped.
        hidden: width of the network that the kernel is sampled from.
        filters: number of its Gabor filters; the published networks have 4.
        scale: initial scale of its frequencies.
        learn: False: the mask is not learned, and with it the size of the kernel.
        evaluation: "spatial" (a sum over the live kernel), "fft" (Fourier transforms), or "auto": whichever
            :func:`.fft_convolution.fft_is_faster` expects to be faster. They agree to rounding. Where there are no
            values (tracing, export) and under torch.compile it is the sum, so that what is counted is the live kernel.
        published: no bounds of mu and sigma, as in the authors' code: a kernel can shrink to one point for good.

    Raises:
        TypeError: if an argument is of a wrong type.
        ValueError: if one is out of range, such as a sigma of zero or infinity.

    >>> layer = FlexConv2d(3, 8, 3, padding=1, largest=33)
    >>> layer.extent, layer(torch.zeros(1, 3, 32, 32)).shape
    ((5, 5), torch.Size([1, 8, 32, 32]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Size = 3,
        stride: int | Size = 1,
        padding: int | Size | str = 0,
        dilation: int | Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        padding_mode: str = "zeros",
        largest: int | Size = 33,
        sigma: float | Sequence[float] = 0.075,
        threshold: float = THRESHOLD,
        hidden: int = 32,
        filters: int = 4,
        scale: float = 25.6,
        learn: bool = True,
        evaluation: Evaluation = "auto",
        published: bool = False,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode=padding_mode
        )
        check_whole(1, hidden=hidden, filters=filters)
        check_flags(learn=learn, published=published)
        check_numbers("a number between 0 and 1", lambda value: 0 < value < 1, threshold=threshold)
        check_numbers("a finite positive number", lambda value: 0 < value < math.inf, scale=scale)
        if evaluation not in get_args(Evaluation):
            raise ValueError(f"evaluation={evaluation!r}: expected 'auto', 'spatial' or 'fft'")
        self.largest = check_largest(largest)
        self.threshold, self.evaluation, self.published = float(threshold), evaluation, published
        start = check_sigma(sigma, self.largest, self.threshold)
        self.mu = nn.Parameter(torch.zeros(2), requires_grad=learn)
        self.sigma = nn.Parameter(torch.tensor(start), requires_grad=learn)
        values = in_channels // groups * out_channels
        spread = min(max(start) * 5 / 3, 1.0)  # published: the filters start somewhat wider than the mask
        self.network = MAGNet(values, hidden=hidden, filters=filters, scale=scale, spread=spread)
        self._seen = (0.0, 0.0, *self.sigma.tolist())
        self.scale_kernel(1 / 3)

    @torch.no_grad()
    def scale_kernel(self, energy: float) -> None:
        """Scale the kernels so that the sum of squares of an output channel's is ``energy`` in the mean.

        It is the variance of the output for white maps of variance 1: 1 / 3 for a new `nn.Conv2d`.
        """
        factor = (energy / self.weight.double().square().sum((1, 2, 3)).mean()).sqrt()
        self.network.output.weight.mul_(factor)
        self.network.output.bias.mul_(factor)

    # -- the live kernel --

    def size_parameters(self) -> Sequence[nn.Parameter]:
        """mu and sigma, (height, width) each."""
        return self.mu, self.sigma

    def kernel_parameters(self) -> list[Tensor]:
        """Those of the network, mu and sigma."""
        return [*self.network.parameters(), self.mu, self.sigma]

    def extent_at(self, values: Sequence[float]) -> Size:
        """(height, width) of the kernel that a mask with these mu and sigma leaves.

        Raises:
            ValueError: if a sigma is not finite and positive, or a mu not finite.
        """
        if not all(map(math.isfinite, values)) or min(values[2:]) <= 0:
            raise ValueError(
                f"mu={tuple(values[:2])} and sigma={tuple(values[2:])} of a FlexConv2d: expected finite numbers, sigma "
                "positive; call dynpool.constrain(model) after each optimizer.step()"
            )
        height, width = (
            2 * live_radius(n, mu, sigma, self.threshold) + 1
            for n, mu, sigma in zip(self.largest, values[:2], values[2:], strict=True)
        )
        return height, width

    def learned_extent(self) -> Tensor:
        """The pixels of the live kernel before rounding, (2,), differentiable in mu and sigma; right on average."""
        largest = torch.tensor(self.largest, dtype=self.sigma.dtype, device=self.sigma.device)
        reach = self.mu.abs() + self.sigma * math.sqrt(-2 * math.log(self.threshold))
        return torch.minimum((largest - 1) * reach, largest)

    def rounded_extent(self) -> Tensor:
        """:meth:`extent_at` of the present values as a tensor of two integers, for compiled graphs."""
        half = torch.tensor(self.largest, device=self.sigma.device) // 2
        return 2 * torch.minimum(torch.floor(self.learned_extent().detach() / 2 + ROUNDING).long(), half) + 1

    def projected(self, values: tuple[float, ...], previous: tuple[float, ...]) -> tuple[float, ...]:
        """mu within [-1, 1] and sigma within its range; what is not finite is as it was."""
        values = super().projected(values, previous)
        if self.published:
            return (*values[:2], *(max(abs(sigma), _LEAST) for sigma in values[2:]))
        ranges: list[Pair] = [(-1.0, 1.0)] * 2 + [sigma_range(n, self.threshold) for n in self.largest]
        return tuple(min(max(value, low), high) for value, (low, high) in zip(values, ranges, strict=True))

    def kernel(self, extent: Size) -> Tensor:
        """The masked kernel, (C_out, C_in / groups, *extent): the live kernel, cut off or with zeros around it."""
        live = extent if torch.compiler.is_compiling() else self.extent  # compiled graphs ask for no other
        kept = tuple(min(k, n) for k, n in zip(extent, live, strict=True))
        like = self.network.output.weight
        dtype = torch.promote_types(like.dtype, torch.float32)
        sides = zip(self.largest, kept, strict=True)
        rows, columns = (axis_points(n, k // 2, dtype=dtype, device=like.device) for n, k in sides)
        points = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)
        weight = self.network(points).T.unflatten(1, kept)
        mask = gaussian(rows, self.mu[0], self.sigma[0])[:, None] * gaussian(columns, self.mu[1], self.sigma[1])
        weight = (weight * mask.to(weight.dtype)).unflatten(0, (self.out_channels, -1))
        above, left = ((k - n) // 2 for k, n in zip(extent, kept, strict=True))
        return F.pad(weight, (left, left, above, above)) if above or left else weight

    def bandwidth(self, *, mask: bool = True, sigma_cut: float = SIGMA_CUT) -> Tensor:
        """The bound f+ on the frequencies of the kernel along height and width, cycles per unit, shape (2,)."""
        if mask:
            return kernel_bandwidth(self.network, self.sigma, sigma_cut=sigma_cut)
        return magnet_bandwidth(self.network, sigma_cut=sigma_cut)

    # -- the convolution --

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of x with the live kernel, by a sum over it or by Fourier transforms."""
        if not self.uses_fft(x, weight):
            return super().convolve(x, weight, bias)
        padding = padding_of((weight.shape[-2], weight.shape[-1]), self.margin)
        y = fft_conv2d(x, weight, padding=padding, stride=self.stride, groups=self.groups)
        return y if bias is None else y + bias[:, None, None]

    def uses_fft(self, x: Tensor, weight: Tensor) -> bool:
        """Whether a map x is convolved with this kernel by Fourier transforms."""
        if self.evaluation == "spatial" or torch.compiler.is_compiling() or not has_values(x):
            return False
        kernel = weight.shape[-2], weight.shape[-1]
        padding = padding_of(kernel, self.margin)
        if x.dim() != 4 or min(padding) < 0:  # no batch, or pixels cut off
            return False
        return self.evaluation == "fft" or fft_is_faster(
            (x.shape[-2], x.shape[-1]),
            kernel,
            padding=padding,
            stride=self.stride,
            batch=x.shape[0],
            channels=(self.in_channels, self.out_channels),
            groups=self.groups,
        )


def check_largest(largest: object) -> Size:
    """The points of the largest kernel, (height, width).

    Raises:
        TypeError: if it is not one integer or two.
        ValueError: if one is even or below 3.
    """
    pair = (largest, largest) if isinstance(largest, int) else largest
    message = f"largest={largest!r}: expected one or two (height, width) odd integers of at least 3"
    if (
        not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) for n in pair)
    ):
        raise TypeError(message)
    if min(pair) < 3 or not all(n % 2 for n in pair):
        raise ValueError(message)
    return pair[0], pair[1]
