"""`hessian_eigenvalues`: the largest eigenvalues of the Hessian of the mean loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from dynpool.common.arguments import check_model, check_numbers, check_whole, is_number
from dynpool.common.extras import optional
from dynpool.conversion import freeze
from dynpool.graph import deep_copy, untouched
from dynpool.resizers import learned_resizers
from dynpool.resolution import resolution_tree, unwrapped

from ..common.batches import check_batches, check_progress, checked, device_of, on_device, random_states_kept
from .hessian_report import HessianSpectrum

__all__ = ["hessian_eigenvalues"]

Loss = Callable[[Any, Any], Tensor]
Progress = Callable[[int, int | None], object]


@torch.inference_mode(False)
def hessian_eigenvalues(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Loss = F.cross_entropy,
    *,
    k: int = 90,
    which: Literal["LA", "LM"] = "LA",
    tol: float = 1e-4,
    seed: int = 0,
    progress: Progress | None = None,
) -> HessianSpectrum:
    """The k largest eigenvalues of the Hessian of the mean loss with respect to the weights.

    As in Avendano, "Receptive Field and Neural Networks Representations", which compares the 90 largest before and
    after training. Products of the Hessian with a vector are exact (curvlinops: Dangel et al., 2025, forward over
    reverse differentiation); SciPy's `eigsh` (ARPACK, implicitly restarted Lanczos) finds the eigenvalues from them,
    from a start vector that the seed determines.

    The measurement runs on a copy in eval mode: the model's weights, buffers, mode, hooks and all random states stay
    as they are. A converted model is measured at its present sizes, as `dynpool.freeze` makes it. The alphas are held:
    the gradient by which a size is learned is a surrogate, not a derivative of the loss, so it has no Hessian.

    A product takes about the time of two training steps on each batch, and about the memory of one; there are a few
    hundred for the default k. ARPACK keeps max(2 k + 1, 20) vectors of all weights (`HessianSpectrum.memory` bytes).

    Args:
        model: a plain, converted or frozen model. Only parameters with `requires_grad` count. Parameters in half
            precision are measured in float32.
        batches: pairs (input, target), inputs (N, C, H, W) of one size. All are kept on the model's device.
        loss: called as loss(output, target); returns the mean over the images of a batch as one number. Batches are
            weighted by their number of images.
        k: how many eigenvalues, at most one less than there are parameters.
        which: "LA", the algebraically largest; or "LM", the largest in magnitude, in which negative ones take part.
        tol: relative accuracy at which ARPACK stops. Use a model in float64 for less than about 1e-6.
        seed: of the start vector.
        progress: called as progress(products done, None) after each product; their number is not known beforehand.

    Returns:
        The report. Eigenvalues that did not converge are left out, with a notice. Of eigenvalues that are exactly
        equal, such as the zeros of weights that have no effect, Lanczos may find fewer than there are.

    Raises:
        ImportError: if curvlinops is not installed (`pip install 'dynpool[inspect]'`).
        TypeError: for an argument of a wrong type, or a `loss` that does not return one number.
        ValueError: for a bad argument, a model with hand-placed resizers or without parameters, a k that is too large,
            or a loss or Hessian that is not finite.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> batches = [(torch.randn(16, 3, 8, 8), torch.randint(2, (16,)))]
        >>> spectrum = hessian_eigenvalues(net, batches, k=3)
        >>> spectrum.parameters, len(spectrum.eigenvalues), spectrum.eigenvalues[0] >= spectrum.eigenvalues[1]
        (122, 3, True)
    """
    check_model(model)
    check_batches(batches)
    if not callable(loss):
        raise TypeError(f"loss must be callable, got {loss!r}")
    check_whole(1, k=k)
    if which not in ("LA", "LM"):
        raise ValueError(f"which={which!r}: expected 'LA' or 'LM'")
    check_numbers("a finite number above 0", lambda value: 0 < value < math.inf, tol=tol)
    check_whole(0, seed=seed)
    check_progress(progress)
    still = _still(model)
    parameters = [p for p in still.parameters() if p.requires_grad]
    count = sum(p.numel() for p in parameters)
    if not count:
        raise ValueError(f"model: no parameter of the {type(model).__name__} has requires_grad")
    if k >= count:
        raise ValueError(f"k={k}: expected at most {count - 1}, as the model has {count} parameters with requires_grad")
    with untouched(still), random_states_kept(still), sdpa_kernel(SDPBackend.MATH):  # fused attention: one derivative
        operator = _Products(still, parameters, batches, loss, progress)
        found, notices = _eigenvalues(operator, int(k), which, float(tol), int(seed))
    order = np.argsort(-found if which == "LA" else -np.abs(found), kind="stable")
    return HessianSpectrum(
        model=type(model).__name__,
        parameters=count,
        eigenvalues=tuple(found[order].tolist()),
        which=which,
        wanted=int(k),
        loss=operator.loss,
        images=operator.images,
        batches=len(operator.data),
        products=operator.done,
        memory=_vectors(int(k), count) * count * operator.dtype.itemsize,
        notices=(*notices, *operator.notices),
    )


class _Products:
    """Products of the Hessian of the mean loss over all batches with a vector."""

    def __init__(
        self, model: nn.Module, parameters: list[nn.Parameter], batches: Iterable[Any], loss: Loss, progress: Any
    ) -> None:
        linear_operator = _curvlinops()
        device = device_of(model)
        kind = parameters[0].dtype
        self.data: list[tuple[Tensor, Any]] = []
        self.loss, self.images, self.done, self.progress = 0.0, 0, 0, progress
        for number, (images, target) in enumerate(checked(batches, targets=True)):
            x, y = on_device((images.to(kind) if images.is_floating_point() else images, target), device)
            with torch.no_grad():
                value = loss(model(x), y)
            if not isinstance(value, Tensor) or not is_number(value):
                shape = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
                raise TypeError(f"loss must return a tensor with one number, got a {type(value).__name__} {shape}")
            if not math.isfinite(value.item()):
                raise ValueError(f"the loss is {value.item()} in batch {number}: its Hessian does not exist")
            self.loss += value.item() * len(images)
            self.images += len(images)
            self.data.append((x, y))
        self.loss /= self.images
        self.operator = linear_operator(
            model, _Mean(loss), parameters, self.data, check_deterministic=False, num_data=self.images
        )
        self.shape = self.operator.shape
        self.dtype = np.dtype(str(kind).removeprefix("torch."))
        self.device = device
        self.notices: tuple[str, ...] = ()

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """The product with a vector (n,)."""
        product = self.operator @ torch.from_numpy(np.ascontiguousarray(vector.reshape(-1))).to(self.device)
        found: np.ndarray = product.cpu().numpy()
        if not np.isfinite(found).all():
            raise ValueError("the Hessian of the loss has NaN or infinities: is the loss twice differentiable here?")
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, None)
        return found


class _Mean(nn.Module):
    """A loss as curvlinops takes it: a module that says that it averages over images."""

    reduction = "mean"

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, output: Any, target: Any) -> Tensor:
        return self.loss(output, target).reshape(())


def _curvlinops() -> Any:
    try:
        from curvlinops import HessianLinearOperator
    except ModuleNotFoundError as error:
        raise ImportError(f"hessian_eigenvalues needs {error.name}: pip install 'dynpool[inspect]'") from None
    return HessianLinearOperator


def _still(model: nn.Module) -> nn.Module:
    """A copy in eval mode, with fixed sizes and at least float32."""
    inner = unwrapped(model)
    with untouched(model):
        still = deep_copy(inner) if resolution_tree(inner) is None else freeze(inner)
    if learned_resizers(still):
        raise ValueError(
            f"model: the {type(inner).__name__} holds learned resizers that it was not converted with as a whole, and "
            "whose second derivatives do not exist: pass the converted model, or freeze it"
        )
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in still.parameters()):
        still.float()
    return still.eval()


def _vectors(k: int, parameters: int) -> int:
    """The number of vectors that `eigsh` keeps by default."""
    return min(parameters, max(2 * k + 1, 20))


def _eigenvalues(operator: _Products, k: int, which: str, tol: float, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    with optional():
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    start = np.random.default_rng(seed).standard_normal(operator.shape[0]).astype(operator.dtype)
    hessian = LinearOperator(operator.shape, matvec=operator, dtype=operator.dtype)
    try:
        found = eigsh(hessian, k, which=which, v0=start, tol=tol, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        found = np.asarray(error.eigenvalues)
        return found, (f"only {len(found)} of {k} eigenvalues converged within {operator.done} products",)
    return np.asarray(found), ()
