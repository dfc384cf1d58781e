"""Multiply-accumulates of a model, and their differentiable form as a loss (DynOPool, Eq. 7 and 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_model
from dynpool.graph import Graph, InputSize, check_input_size, trace
from dynpool.graph.ops import is_registered
from dynpool.size_math import PerAxis

from .cost_model import CostModel
from .surrogate import Factors, Surrogate

__all__ = ["Ceiling", "GMACsLoss", "LayerMacs", "MacsReport", "count_macs", "macs_of"]

# Operations that only move or relabel data: neither counted nor reported.
_LAYOUT = frozenset(
    f"aten.{name}"
    for name in (
        "view _unsafe_view reshape _reshape_alias permute transpose t expand unsqueeze squeeze select slice unbind "
        "clone detach alias contiguous _to_copy copy_ cat stack split split_with_sizes constant_pad_nd empty "
        "new_empty zeros ones arange full lift_fresh"
    ).split()
)
# Parts of the names of operations that are sums of products or pairwise distances.
_PRODUCTS = frozenset(
    "fft mm addmm bmm baddbmm addbmm addmv mv dot vdot ger addr trilinear cdist pdist attention lstm gru rnn det inv "
    "solve svd eigh qr cholesky".split()
)
FOLDED_AT = 8  # kinds of operations in a line of text
_KNOWN_SMALL = frozenset({"dynpool", "prim", "prims", "torchvision"})


@dataclass(frozen=True)
class LayerMacs:
    """MACs of a module's own operations; `kinds` are the names of the ATen operations."""

    name: str
    kinds: tuple[str, ...]
    macs: int


@dataclass(frozen=True)
class MacsReport:
    """MACs of a model for one image: `total`, per layer in order of execution, and the operations not counted.

    `not_counted` has the number of calls of each operation that is not counted (normalisations, activations, pools and
    resizes); `large_not_counted` names those of them that may multiply and accumulate: Fourier transforms, distances,
    grid sampling, operators that neither PyTorch nor `dynpool.register_op` describes. `notes` list assumptions about
    values that only a real pass has. `input_size` is (C, extents...), `by_operator` the MACs of each operation counted.
    """

    input_size: tuple[int, ...]
    total: int
    layers: tuple[LayerMacs, ...]
    not_counted: Mapping[str, int]
    notes: tuple[str, ...] = ()
    by_operator: Mapping[str, int] = field(default_factory=dict)

    @property
    def large_not_counted(self) -> tuple[str, ...]:
        """Operations that are not in the total although they may multiply and accumulate."""
        return tuple(sorted(op for op in self.not_counted if _is_large(op)))

    @property
    def gmacs(self) -> float:
        """The total in units of 1e9 MACs."""
        return self.total / 1e9

    @property
    def by_layer(self) -> dict[str, int]:
        """MACs by layer name."""
        return {layer.name: layer.macs for layer in self.layers}

    def to_dict(self) -> dict[str, Any]:
        layers = [{"name": r.name, "kinds": list(r.kinds), "macs": r.macs} for r in self.layers]
        return {
            "input_size": list(self.input_size),
            "total": self.total,
            "layers": layers,
            "by_operator": dict(self.by_operator),
            "not_counted": dict(self.not_counted),
            "large_not_counted": list(self.large_not_counted),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        width = max([len(r.name) for r in self.layers] + [5])
        lines = [f"{'layer':<{width}}  {'MACs':>15}  share"]
        lines += [f"{r.name:<{width}}  {r.macs:>15,}  {r.macs / max(self.total, 1):6.1%}" for r in self.layers]
        lines.append(f"{'total':<{width}}  {self.total:>15,}  ({self.gmacs:.3f} GMACs{self.without})")
        if self.not_counted:
            lines.append(f"not counted: {_folded(self.not_counted)}")
        return "\n".join([*lines, *self.notes])

    @property
    def without(self) -> str:
        """What is missing in the total, to be printed beside it: ', without aten._fft_r2c x1'; empty if nothing is."""
        large = {op: self.not_counted[op] for op in self.large_not_counted}
        return f", without {_folded(large)}" if large else ""


def _folded(counts: Mapping[str, int]) -> str:
    """Operations and how often they ran; of many kinds only the most frequent."""
    shown = sorted(counts, key=lambda op: (-counts[op], op))[:FOLDED_AT]
    more = len(counts) - len(shown)
    listed = ", ".join(f"{op} x{counts[op]}" for op in sorted(shown))
    return f"{listed} and {more} other{'s' * (more > 1)} (see not_counted)" if more else listed


def _is_large(op: str) -> bool:
    package, _, name = op.partition(".")
    if package != "aten":
        return package not in _KNOWN_SMALL and not is_registered(op)
    return name.startswith(("conv", "grid_sampler")) or not _PRODUCTS.isdisjoint(name.split("_"))


def count_macs(
    model: nn.Module,
    input_size: InputSize | None = None,
    *,
    inputs: Any = None,
    batch: int | None = None,
    dtype: torch.dtype | None = None,
) -> MacsReport:
    """MACs of the convolutions and matrix products of one forward pass of one image, at the model's current sizes.

    This is half of what `torch.utils.flop_counter` counts, plus what it omits: the matrix products of an LSTM with its
    states, and attention that a CPU runs as one operation. Resizes are listed under `not_counted`;
    :func:`dynpool.register_macs` gives operations without a count a formula. No tensor is on a device, so that there is
    no device to choose.

    Args:
        model: any module; it is traced on meta tensors in eval mode and left unchanged.
        input_size: (C, H, W) in pixels; or (C, L) or (C, D, H, W); or a list or dict of these for a model with several
            inputs. None: the size of the first tensor in `inputs`.
        inputs: the arguments of the model's forward (a tensor, a tuple or a dict), if sizes are not enough.
        batch: batch size of the traced pass, if one image is not enough; the MACs are still those of one image.
        dtype: of the inputs made from `input_size`, such as torch.long for indices; default: that of the weights.

    Raises:
        ValueError: for a bad `input_size` or `dtype`, or when the model cannot run at it.
    """
    check_model(model)
    return macs_of(trace(model, input_size, inputs=inputs, batch=batch, dtype=dtype))


def macs_of(graph: Graph) -> MacsReport:
    """The result of :func:`count_macs` for the model and input of an existing graph."""
    by_path: dict[str, dict[str, int]] = {}  # by kind
    by_operator: dict[str, int] = {}
    rest: dict[str, int] = {}
    for node in graph.nodes:
        macs = graph.macs_by_node.get(node.index)
        if macs is not None:
            kinds = by_path.setdefault(node.path, {})
            kinds[node.op] = kinds.get(node.op, 0) + macs
            by_operator[node.op] = by_operator.get(node.op, 0) + macs
        elif node.op not in _LAYOUT:
            rest[node.op] = rest.get(node.op, 0) + 1
    layers = tuple(LayerMacs(path, tuple(kinds), sum(kinds.values())) for path, kinds in by_path.items())
    return MacsReport(graph.size, sum(r.macs for r in layers), layers, rest, tuple(graph.notes), by_operator)


@dataclass
class Ceiling:
    """A hard limit on the MACs at one input size, enforced by the resolution tree."""

    cost: CostModel
    limit: float  # MACs

    def allows(self, alphas: Sequence[PerAxis]) -> bool:
        return self.cost.macs(alphas) <= self.limit


class GMACsLoss:
    """The model's GMACs at its learned sizes and kernels, as a scalar with a gradient to all of them (Eq. 7, 8).

    MACs_l = MACs_l(0) * (H_l W_l) / (H_l(0) W_l(0)), summed over the convolutions and matrix products. The value is
    exact for the rounded sizes in use; the gradient is that of the continuous surrogate, in which a resolution's size
    is its parent's divided by the learned stride without rounding or floor (`surrogate()`). The MACs of a convolution
    that learns its kernel are proportional to the kernel's pixels, in the surrogate to the kernel before it is rounded.

    The model is traced on construction. A call takes a few operations on vectors with one entry per resolution. If the
    model runs other layers at other sizes, so that its MACs have no closed form, a call at new sizes traces it again.

    Args:
        model: a converted model, one with hand-placed resizers, or one with learned kernels.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W), at which GMACs are counted.
        inputs: the arguments of the model's forward, if an image is not enough, see :func:`dynpool.convert`.
        batch: batch size of the traced pass, if one image is not enough.
        dtype: of the images; default: that of the weights. Converted models know all three.

    Raises:
        ValueError: if the model has neither a learned resolution nor a learned kernel, or cannot run at `input_size`.

    Example:
        >>> import dynpool
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), dynpool.DynOPool2d(), nn.Conv2d(8, 8, 3, padding=1))
        >>> loss = dynpool.GMACsLoss(model, (3, 32, 32))
        >>> round(loss().item() * 1e9)  # 32*32*8*27 + 16*16*8*72
        368640
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: nn.Module,
        input_size: Sequence[int],
        *,
        inputs: Any = None,
        batch: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_model(model)
        self.input_size = check_input_size(input_size)
        self.cost = CostModel(model, self.input_size, inputs=inputs, batch=batch, dtype=dtype)
        self.tree, self.owners, self.graph = self.cost.tree, self.cost.owners, self.cost.graph
        if not self.owners and not self.cost.kernels:
            raise ValueError(f"model is a {type(model).__name__}, which has no learned resolution")
        self._surrogate = Surrogate(self.cost)
        merged: dict[tuple[str, Factors], float] = {}  # by learned kernel, or "" for all others
        for mac in self.graph.macs:
            factors, each = self._surrogate.factors(mac.axes)
            key = (mac.path if mac.path in self.cost.kernels else "", factors)
            merged[key] = merged.get(key, 0.0) + mac.macs / each
        self._kernels = [path for path, _ in merged]
        self._terms = self._surrogate.terms((factors, macs / 1e9) for (_, factors), macs in merged.items())

    def surrogate(self) -> Tensor:
        """GMACs at the continuous sizes H / stride and kernels: a float64 scalar with the gradient of the loss."""
        terms = self._surrogate(self._terms)
        if self.cost.kernels:
            terms = terms * self._kernel_shares()
        return terms.sum()

    def _kernel_shares(self) -> Tensor:
        """For each term the pixels of its learned kernel, without rounding, relative to those at tracing; else 1."""
        shares = {
            path: layer.learned_extent().double().prod() / self.cost.traced_pixels(path)
            for path, layer in self.cost.kernels.items()
        }
        one = torch.ones_like(next(iter(shares.values())))
        return torch.stack([shares.get(path, one) for path in self._kernels])

    def value(self, alphas: Sequence[PerAxis] | None = None) -> float:
        """GMACs at the rounded sizes in use, or at those of the given values of the alphas, computed on the host."""
        return self.cost.macs(alphas) / 1e9

    def __call__(self) -> Tensor:
        """GMACs as a float32 scalar tensor on the alphas' device."""
        smooth = self.surrogate()
        return (smooth + (self.value() - smooth.detach())).float()
