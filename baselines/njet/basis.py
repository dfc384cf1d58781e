"""The N-Jet: kernels as linear combinations of Gaussian derivatives, in closed form.

The n-th derivative of a Gaussian G of scale sigma is ``(-1 / sigma)^n He_n(x / sigma) G(x)`` with the Hermite
polynomials ``He_0 = 1, He_1 = u, He_{n+1} = u He_n - n He_{n-1}``. Scale-normalised, that is multiplied by ``sigma^n``,
only its width depends on sigma. In two dimensions derivatives are products of one along y and one along x.

Reference: Pintea et al., "Resolution learning in deep convolutional networks using scale-space theory", IEEE TIP 2021.
Written from its formulas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynpool.common.arguments import check_numbers, check_whole

from .size_math import derivative_orders, radius_of

__all__ = ["gaussian_derivatives", "njet_basis", "njet_kernel"]


def gaussian_derivatives(sigma: Tensor, order: int, radius: int, truncate: float = 2.0) -> Tensor:
    """Scale-normalised derivatives of sampled Gaussians, (S,) to (S, order + 1, 2 * radius + 1), differentiable.

    Each Gaussian is cut at its own radius, ``ceil(truncate * sigma + 0.5)``, and has the sum 1.
    """
    x = torch.arange(-radius, radius + 1, dtype=sigma.dtype, device=sigma.device)
    u = x / sigma[:, None]
    own = torch.ceil(truncate * sigma.detach() + 0.5)[:, None]
    gauss = torch.where(x.abs() <= own, torch.exp(-0.5 * u * u), 0.0)
    gauss = gauss / gauss.sum(1, keepdim=True)
    hermite = [torch.ones_like(u), u]
    for n in range(1, order):
        hermite.append(u * hermite[n] - n * hermite[n - 1])
    return torch.stack([(-1) ** n * hermite[n] * gauss for n in range(order + 1)], 1)


def njet_basis(sigma: Tensor, order: int, radius: int, truncate: float = 2.0) -> Tensor:
    """The basis of F = (order + 1)(order + 2) / 2 kernels, (S,) to (S, F, side, side) with side = 2 * radius + 1.

    Kernels are in the order of :func:`.size_math.derivative_orders`, differentiable with respect to sigma.
    """
    lines = gaussian_derivatives(sigma, order, radius, truncate)
    i, j = (torch.tensor(which, device=sigma.device) for which in zip(*derivative_orders(order), strict=True))
    return lines[:, i, :, None] * lines[:, j, None, :]


def njet_kernel(
    coefficients: Tensor, sigma: Tensor, *, order: int, truncate: float = 2.0, radius: int | None = None
) -> Tensor:
    """The kernels that coefficients and a scale give: combinations of scale-normalised Gaussian derivatives.

    Pintea et al., IEEE TIP 2021: ``sum over i + j <= order of a_ij sigma^(i+j) d^(i+j) G / dy^i dx^j``. Differentiable
    with respect to coefficients and sigma, except for the truncation.

    Args:
        coefficients: (C_out, C_in, F) with F = (order + 1)(order + 2) / 2, in the order of the pairs (i, j), i first.
        sigma: (S,) in pixels, finite and positive; S divides C_out, and each sigma serves C_out / S output channels.
        order: N, the highest order of a derivative, at least 0.
        truncate: half-width of a kernel in units of sigma, rounded up to whole pixels from half a pixel further out:
            the radius is ceil(truncate * sigma + 0.5).
        radius: half-width of the result in pixels; None: that of the largest sigma.

    Returns:
        (C_out, C_in, side, side) with side = 2 * radius + 1, of the dtype of ``coefficients``.

    Raises:
        ValueError: for a sigma of zero or infinity, an order below 0, or shapes that do not fit.

    >>> smoothing = torch.tensor([[[1.0, 0.0, 0.0]]])
    >>> njet_kernel(smoothing, torch.tensor([0.25]), order=1).shape
    torch.Size([1, 1, 3, 3])
    """
    check_whole(0, order=order)
    check_numbers("a finite positive number", lambda n: 0 < n < math.inf, truncate=truncate)
    for name, given in (("coefficients", coefficients), ("sigma", sigma)):
        if not isinstance(given, Tensor):
            raise TypeError(f"{name}={given!r}: expected a tensor")
    if radius is not None:
        check_whole(0, radius=radius)
    count = (order + 1) * (order + 2) // 2
    if coefficients.dim() != 3 or coefficients.shape[2] != count:
        shape = tuple(coefficients.shape)
        raise ValueError(f"coefficients has shape {shape}: expected (C_out, C_in, {count}) for order={order}")
    if sigma.dim() != 1 or not len(sigma) or coefficients.shape[0] % len(sigma):
        shape = tuple(sigma.shape)
        raise ValueError(f"sigma has shape {shape}: expected (S,) with S a divisor of C_out={coefficients.shape[0]}")
    if radius is None:
        values = sigma.tolist()
        for value in values:
            check_numbers("finite positive numbers", lambda n: 0 < n < math.inf, sigma=value)
        radius = radius_of(max(values), truncate)
    basis = njet_basis(sigma.to(torch.promote_types(sigma.dtype, torch.float32)), order, radius, truncate)
    side = 2 * radius + 1
    grouped = coefficients.reshape(len(sigma), -1, count).to(basis.dtype)
    if torch.compiler.is_compiling():  # fused; and inductor loses the strides of a product of this unknown size
        parts = [grouped[:, :, k, None, None] * basis[:, None, k] for k in range(count)]
        kernels = torch.stack(parts).sum(0) if count > 1 else parts[0]
    else:
        kernels = grouped @ basis.flatten(2)
    return kernels.reshape(*coefficients.shape[:2], side, side).to(coefficients.dtype)
