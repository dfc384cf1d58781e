"""Eigenvalues equal those of the full Hessian, of the model as it is, which stays so."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dynpool
from dynpool.analysis import hessian_eigenvalues
from dynpool.baselines import DiffStride2d
from tests.networks import two_resizers

SIZE = (3, 12, 12)


def tiny():
    """A network of 43 parameters in float64."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 1, 3, padding=1), nn.BatchNorm2d(1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(1, 2, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3), nn.Dropout(0.5),
    ).double()  # fmt: skip


def batches(*sizes, dtype=torch.float64, classes=3):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, *SIZE, generator=generator, dtype=dtype), torch.randint(classes, (n,), generator=generator))
        for n in sizes
    ]


def full_spectrum(model, data, *, names=None):
    """All eigenvalues of the Hessian of the mean loss over all images at once, by autograd row by row, falling."""
    model.eval()
    wanted = [p for n, p in model.named_parameters() if names is None or n in names]
    images, target = torch.cat([x for x, _ in data]), torch.cat([y for _, y in data])
    gradients = torch.autograd.grad(F.cross_entropy(model(images), target), wanted, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    rows = [torch.autograd.grad(g, wanted, retain_graph=True, materialize_grads=True) for g in flat]
    hessian = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])
    return torch.linalg.eigvalsh((hessian + hessian.T) / 2).flip(0)


@pytest.mark.parametrize("sizes", [(6,), (4, 2)])
def test_eigenvalues_are_those_of_the_full_hessian(sizes):
    model, data = tiny(), batches(*sizes)
    found = hessian_eigenvalues(model, data, k=12, tol=1e-8)
    wanted = full_spectrum(model, data)
    assert found.eigenvalues == pytest.approx(wanted[:12].tolist(), rel=1e-6, abs=1e-9)
    assert (found.parameters, found.images, found.batches, found.notices) == (len(wanted), 6, len(sizes), ())
    images, target = torch.cat([x for x, _ in data]), torch.cat([y for _, y in data])
    assert found.loss == pytest.approx(F.cross_entropy(model(images), target).item())


def test_the_largest_in_magnitude_and_all_but_one():
    model, data = tiny(), batches(6)
    wanted = full_spectrum(model, data)
    found = hessian_eigenvalues(model, data, k=len(wanted) - 1, tol=1e-10, which="LM")
    by_magnitude = wanted[wanted.abs().argsort(descending=True)]
    assert found.eigenvalues == pytest.approx(by_magnitude[:-1].tolist(), rel=1e-6, abs=1e-9)
    assert found.negative == sum(value < 0 for value in found.eigenvalues) > 5
    message = f"k={len(wanted)}: expected at most {len(wanted) - 1}, as the model has {len(wanted)} parameters"
    with pytest.raises(ValueError, match=message):
        hessian_eigenvalues(model, data, k=len(wanted))


def test_only_parameters_that_are_trained_count():
    model, data = tiny(), batches(6)
    model[0].requires_grad_(False)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    found = hessian_eigenvalues(model, data, k=8, tol=1e-8)
    wanted = full_spectrum(model, data, names=names)[:8]
    assert found.eigenvalues == pytest.approx(wanted.tolist(), rel=1e-6, abs=1e-9)
    with pytest.raises(ValueError, match="no parameter of the Sequential has requires_grad"):
        hessian_eigenvalues(model.requires_grad_(False), data, k=1)


@pytest.mark.parametrize(("pool", "size"), [(dynpool.DynOPool2d, (5, 7)), (DiffStride2d, (10, 10))])
def test_learned_sizes_are_held_and_alphas_do_not_count(pool, size):
    model, data = tiny(), batches(6)
    live = dynpool.convert(model, SIZE, pool=pool)
    dynpool.set_sizes(live, {"3": size})
    found = hessian_eigenvalues(live.train(), data, k=12, tol=1e-8)
    wanted = full_spectrum(dynpool.freeze(live), data)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.eigenvalues == pytest.approx(wanted[:12].tolist(), rel=1e-6, abs=1e-9)
    assert found.eigenvalues != pytest.approx(full_spectrum(model, data)[:12].tolist(), rel=1e-3)
    assert live.training


def test_resizers_placed_by_hand_have_no_second_derivative():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), dynpool.DynOPool2d(2.0), nn.Flatten(), nn.Linear(72, 3))
    with pytest.raises(ValueError, match="holds learned resizers that it was not converted with as a whole"):
        hessian_eigenvalues(model, batches(4, dtype=torch.float32), k=2)


class Attention(nn.Module):
    """Attention over pixels, whose fused kernels have no second derivative."""

    def __init__(self):
        super().__init__()
        self.make, self.head = nn.Conv2d(3, 12, 1), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.make(x[..., ::4, ::4]).flatten(2).transpose(1, 2).chunk(3, 2)
        return self.head(F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0].mean(1))


def test_attention():
    torch.manual_seed(0)
    model, data = Attention().double(), batches(5)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        wanted = full_spectrum(model, data)
    assert hessian_eigenvalues(model, data, k=3, tol=1e-10).eigenvalues == pytest.approx(wanted[:3].tolist(), rel=1e-6)


def test_the_model_and_random_states_stay_and_the_result_is_the_same_again():
    model, data = two_resizers().train(), batches(4, dtype=torch.float32, classes=4)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    seen = []
    state = torch.get_rng_state()
    with torch.inference_mode():
        first = hessian_eigenvalues(model, iter(data), k=3, progress=lambda done, total: seen.append((done, total)))
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(torch.equal(before[n], t) and t.grad is None for n, t in model.state_dict(keep_vars=True).items())
    assert hessian_eigenvalues(model, data, k=3) == first
    assert seen == [(k, None) for k in range(1, first.products + 1)]
    assert first.memory == 20 * first.parameters * 4


def test_half_precision_is_measured_in_float32():
    data = batches(4, dtype=torch.float32, classes=4)
    half = two_resizers().half()
    rounded = two_resizers()
    rounded.load_state_dict(half.state_dict())
    found = hessian_eigenvalues(half, [(x.half(), y) for x, y in data], k=2, tol=1e-6)
    again = hessian_eigenvalues(rounded, [(x.half(), y) for x, y in data], k=2, tol=1e-6)
    assert found.eigenvalues == pytest.approx(again.eigenvalues, rel=1e-4)
    assert next(half.parameters()).dtype == torch.float16


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda output, target: output, r"loss must return a tensor with one number, got a Tensor of shape \(4, 4\)"),
        (lambda output, target: 1.0, "loss must return a tensor with one number, got a float 1.0"),
        (lambda output, target: output.sum() * torch.nan, "the loss is nan in batch 0"),
        (lambda output, target: (output - output).abs().sum().sqrt(), "the Hessian of the loss has NaN or infinities"),
    ],
)
def test_losses_without_a_hessian_are_errors(loss, message):
    with pytest.raises((TypeError, ValueError), match=message):
        hessian_eigenvalues(two_resizers(), batches(4, dtype=torch.float32, classes=4), loss, k=2)


def test_eigenvalues_that_do_not_converge_are_left_out(monkeypatch):
    import scipy.sparse.linalg

    honest = scipy.sparse.linalg.eigsh

    def stops_early(*args, **options):  # how far it gets in a number of iterations depends on SciPy's version
        values, vectors = honest(*args, **{**options, "return_eigenvectors": True})
        raise scipy.sparse.linalg.ArpackNoConvergence("no convergence", values[2:], vectors[:, 2:])

    data = batches(4, dtype=torch.float32, classes=4)
    whole = hessian_eigenvalues(two_resizers(), data, k=5).eigenvalues
    monkeypatch.setattr(scipy.sparse.linalg, "eigsh", stops_early)
    found = hessian_eigenvalues(two_resizers(), data, k=5)
    assert found.eigenvalues == pytest.approx(whole[:3], rel=1e-4)
    assert "only 3 of 5 eigenvalues converged" in found.notices[0]


def test_without_curvlinops_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(ImportError, match=r"needs curvlinops: pip install 'dynpool\[inspect\]'"):
        hessian_eigenvalues(tiny(), batches(6), k=2)
