"""CKA from sums equals its definition with kernel matrices, computed naively in float64."""

import pytest
import torch

from dynpool.analysis.representations.hsic import FullBatchSums, UnbiasedSums

WIDTHS_A, WIDTHS_B = (5, 1, 12), (7, 3)


def features(widths, images=40, *, mean=0.0, seed=0):
    """Features of some layers that have something in common."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(images, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return [
        mean
        + common @ torch.randn(4, n, generator=generator, dtype=torch.float64)
        + torch.randn(images, n, generator=generator, dtype=torch.float64)
        for n in widths
    ]


def naive(x, y):
    """tr(K H L H) / sqrt(tr(K H K H) tr(L H L H)) with kernel matrices of all images (Kornblith et al., Eq. 3)."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - torch.ones(n, n, dtype=torch.float64) / n

    def hsic(k, other):
        return torch.trace(k @ centre @ other @ centre)

    k, other = x @ x.T, y @ y.T
    return hsic(k, other) / (hsic(k, k) * hsic(other, other)).sqrt()


def song(k, other):
    """HSIC_1 of kernel matrices as it is printed (Nguyen et al., Eq. 3)."""
    n = len(k)
    k, other = k.clone().fill_diagonal_(0), other.clone().fill_diagonal_(0)
    ones = torch.ones(n, dtype=torch.float64)
    trace = torch.trace(k @ other)
    sums = (ones @ k @ ones) * (ones @ other @ ones) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (ones @ k @ other @ ones)) / (n * (n - 3))


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("parts", [[40], [7, 1, 32]])
def test_sums_over_batches_are_the_formula_over_all_images(parts, mean):
    a, b = features(WIDTHS_A, mean=mean), features(WIDTHS_B, mean=-mean, seed=1)
    sums = FullBatchSums()
    for k in range(len(parts)):
        sums.add([f.split(parts)[k] for f in a], [f.split(parts)[k] for f in b])
    wanted = torch.stack([torch.stack([naive(x - mean, y + mean) for y in b]) for x in a])
    torch.testing.assert_close(sums.matrix(), wanted, rtol=1e-9, atol=1e-9)
    assert sums.images == 40
    assert 0.1 < wanted.min() < wanted.max() < 0.9


def test_unbiased_estimates_are_averaged_over_batches():
    a, b = features(WIDTHS_A, mean=3.0), features(WIDTHS_B, seed=1)
    sums, batches = UnbiasedSums(), [slice(0, 10), slice(10, 14), slice(14, 40)]
    for part in batches:
        sums.add([f[part] for f in a], [f[part] for f in b])

    def mean(x, y):
        return torch.stack([song(x[part] @ x[part].T, y[part] @ y[part].T) for part in batches]).mean()

    wanted = torch.stack([torch.stack([mean(x, y) / (mean(x, x) * mean(y, y)).sqrt() for y in b]) for x in a])
    torch.testing.assert_close(sums.matrix(), wanted, rtol=1e-9, atol=1e-9)
    assert (sums.images, sums.batches) == (40, 3)


def test_rotations_and_scales_do_not_matter_and_independent_features_have_no_similarity():
    (x,) = features([6])
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    noise = torch.randn(40, 200, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    biased, unbiased = FullBatchSums(), UnbiasedSums()
    for sums in (biased, unbiased):
        sums.add([x], [7 * x @ rotation + 2, noise])
        assert sums.matrix()[0, 0] == pytest.approx(1.0, abs=1e-9)
    assert biased.matrix()[0, 1] > 0.2
    assert abs(unbiased.matrix()[0, 1]) < 0.1


@pytest.mark.parametrize("kind", [FullBatchSums, UnbiasedSums])
@pytest.mark.parametrize("value", [0.0, 1 / 3, -1e6])
def test_a_layer_that_gives_the_same_for_all_images_has_no_similarity(kind, value):
    a, b = features(WIDTHS_A), features(WIDTHS_B, seed=1)
    a[1] = torch.full((40, 1), value, dtype=torch.float32).double()
    a[1][::3] *= 1 + 6e-8  # rounding of float32
    sums = kind()
    for part in (slice(0, 16), slice(16, 40)):
        sums.add([f[part] for f in a], [f[part] for f in b])
    assert sums.matrix().isnan().tolist() == [[False, False], [True, True], [False, False]]


def test_memory_is_what_the_sums_hold():
    sums = FullBatchSums()
    sums.add(features(WIDTHS_A), features(WIDTHS_B))
    held = [sums.cross, *(moment for own in sums.own for moment in own)]
    assert FullBatchSums.memory(WIDTHS_A, WIDTHS_B, 40) == sum(t.nbytes for t in held)
    assert UnbiasedSums.memory(WIDTHS_A, WIDTHS_B, 40) == 5 * 40 * 40 * 8
