"""The N-Jet's kernels equal a slow restatement and numerical derivatives of the Gaussian; their gradients are right."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.special import eval_hermitenorm

from dynpool.baselines.njet.basis import gaussian_derivatives, njet_basis, njet_kernel
from dynpool.baselines.njet.size_math import derivative_orders, radius_of


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def restated(coefficients: np.ndarray, sigmas: list[float], order: int, truncate: float = 2.0) -> np.ndarray:
    """The kernels pixel by pixel: explicit Hermite polynomials times the sampled, normalised Gaussian."""
    outputs, inputs, _ = coefficients.shape
    radius = max(radius_of(sigma, truncate) for sigma in sigmas)
    kernels = np.zeros((outputs, inputs, 2 * radius + 1, 2 * radius + 1))
    for o in range(outputs):
        sigma = sigmas[o * len(sigmas) // outputs]
        own = radius_of(sigma, truncate)
        total = sum(math.exp(-(x**2) / (2 * sigma**2)) for x in range(-own, own + 1))

        def derivative(n: int, x: int, sigma: float = sigma, own: int = own, total: float = total) -> float:
            if abs(x) > own:
                return 0.0
            gauss = math.exp(-(x**2) / (2 * sigma**2)) / total
            return sigma**n * (-1 / sigma) ** n * float(eval_hermitenorm(n, x / sigma)) * gauss

        for c in range(inputs):
            for y in range(-radius, radius + 1):
                for x in range(-radius, radius + 1):
                    kernels[o, c, y + radius, x + radius] = sum(
                        coefficients[o, c, k] * derivative(i, y) * derivative(j, x)
                        for k, (i, j) in enumerate(derivative_orders(order))
                    )
    return kernels


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("sigmas", [[1.0], [0.4], [0.8, 2.1]])
def test_kernels_equal_the_slow_restatement(order, sigmas):
    count = (order + 1) * (order + 2) // 2
    coefficients = torch.randn(4, 2, count, dtype=torch.float64)
    found = njet_kernel(coefficients, doubles(*sigmas), order=order)
    expected = restated(coefficients.numpy(), sigmas, order)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("order", range(5))
def test_derivatives_are_those_of_the_continuous_gaussian_by_central_differences(order):
    sigma, step = 2.0, 1e-2
    lines = gaussian_derivatives(doubles(sigma), order, radius_of(sigma, 4.0), truncate=4.0)[0]
    x = np.arange(-(len(lines[0]) // 2), len(lines[0]) // 2 + 1)
    total = np.exp(-(x**2) / (2 * sigma**2)).sum()
    taps = range(order + 1)
    numerical = sum(
        (-1) ** k * math.comb(order, k) * np.exp(-((x + (order / 2 - k) * step) ** 2) / (2 * sigma**2)) for k in taps
    )
    np.testing.assert_allclose(lines[order].numpy(), sigma**order * numerical / step**order / total, atol=2e-5)


@pytest.mark.parametrize("order", range(4))
def test_derivatives_are_scipys_times_sigma_to_the_order(order):
    sigma, radius = 1.5, radius_of(1.5, 4.0)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1.0
    theirs = gaussian_filter1d(impulse, sigma, order=order, radius=radius, mode="constant")
    lines = gaussian_derivatives(doubles(sigma), order, radius, truncate=4.0)[0]
    np.testing.assert_allclose(lines[order].numpy(), sigma**order * theirs, rtol=1e-9, atol=1e-13)


def test_the_shape_of_a_kernel_does_not_depend_on_sigma():
    """Twice the sigma stretches a scale-normalised kernel by two and divides it by four, as its Gaussian sums to 1."""
    coefficients = torch.randn(1, 1, 10, dtype=torch.float64)
    narrow = njet_kernel(coefficients, doubles(4.0), order=3, truncate=5.0)[0, 0]
    wide = njet_kernel(coefficients, doubles(8.0), order=3, truncate=5.0)[0, 0]
    middle, reach = wide.shape[0] // 2, 2 * (narrow.shape[0] // 2 - 1)
    sampled = wide[middle - reach : middle + reach + 1 : 2, middle - reach : middle + reach + 1 : 2]
    torch.testing.assert_close(4 * sampled, narrow[1:-1, 1:-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("sigmas", [[1.1], [0.6, 1.7]])
def test_gradients_to_coefficients_and_sigma(order, sigmas):
    count = (order + 1) * (order + 2) // 2
    coefficients = torch.randn(2, 2, count, dtype=torch.float64, requires_grad=True)
    sigma = doubles(*sigmas).requires_grad_()
    radius = radius_of(max(sigmas))
    torch.autograd.gradcheck(lambda a, s: njet_kernel(a, s, order=order, radius=radius), (coefficients, sigma))


def test_a_larger_radius_adds_zeros():
    coefficients = torch.randn(2, 1, 6, dtype=torch.float64)
    small = njet_kernel(coefficients, doubles(1.0), order=2)
    large = njet_kernel(coefficients, doubles(1.0), order=2, radius=5)
    assert torch.equal(large[..., 2:-2, 2:-2], small)
    assert large.abs().sum().item() == pytest.approx(small.abs().sum().item(), abs=1e-15)


def test_half_precision_coefficients_are_combined_in_float32():
    coefficients = torch.randn(2, 1, 10)
    exact = njet_kernel(coefficients.bfloat16().float(), torch.tensor([1.0]), order=3)
    half = njet_kernel(coefficients.bfloat16(), torch.tensor([1.0]), order=3)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.bfloat16())


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_a_sigma_that_is_not_finite_and_positive_is_refused(sigma):
    with pytest.raises(ValueError, match=r"sigma=.*expected finite positive numbers"):
        njet_kernel(torch.zeros(1, 1, 1), torch.tensor([sigma]), order=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": -1}, "order=-1: expected an integer of at least 0"),
        ({"order": 2}, r"coefficients has shape \(4, 2, 3\): expected \(C_out, C_in, 6\) for order=2"),
        ({"truncate": 0.0}, "truncate=0.0: expected a finite positive number"),
        ({"sigma": torch.ones(3)}, r"sigma has shape \(3,\): expected \(S,\) with S a divisor of C_out=4"),
        ({"sigma": torch.ones(())}, r"sigma has shape \(\)"),
        ({"coefficients": torch.zeros(3)}, r"coefficients has shape \(3,\)"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"coefficients": torch.zeros(4, 2, 3), "sigma": torch.ones(1), "order": 1} | change
    with pytest.raises(ValueError, match=message):
        njet_kernel(arguments.pop("coefficients"), arguments.pop("sigma"), **arguments)


def test_the_basis_has_a_kernel_for_each_pair_of_orders():
    basis = njet_basis(doubles(1.0, 2.0), 2, 5)
    assert basis.shape == (2, 6, 11, 11)
    torch.testing.assert_close(basis[:, 0].sum((1, 2)), doubles(1.0, 1.0))  # order (0, 0) is the Gaussian itself
    torch.testing.assert_close(basis[:, 1], basis[:, 3].transpose(1, 2))  # (0, 1) and (1, 0) are transposes
