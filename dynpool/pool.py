"""DynOPool2d: the module around the operator, and how its learned strides travel between device and host."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .functional import Reduce, check_reduce, dynopool2d, sizes_from_alpha
from .sizes import alpha_range, check_bounds, output_size, project_alpha

__all__ = ["DynOPool", "DynOPool2d", "constrain_pools", "host_alphas", "set_alpha"]

Pair = tuple[float, float]
Stamp = tuple[int, int, int]

_READ_ALWAYS = frozenset({"cpu"})


class DynOPool2d(nn.Module):
    """Pooling with a learned stride per axis (Jang et al., CVPR 2022); see :func:`dynpool.functional.dynopool2d`.

    Shape: (N, C, H, W) or (C, H, W) to the same with (H_out, W_out).

    Args:
        alpha: initial stride in input pixels per output pixel, one number or (height, width). Learned as the float32
            parameter ``alpha`` of shape (2,), which stays float32 whatever the module is cast to. Not used if
            ``tied_to`` is given.
        reduce: "max", "mean" or "sample".
        bounds: lowest and highest scale factor (output size / input size) of an axis. Not used if ``tied_to`` is given.
        tied_to: another DynOPool2d whose alpha and bounds this one uses; then ``alpha`` is None here. The other module
            is not registered as a child.

    Raises:
        ValueError: if alpha is not finite and positive or is outside the bounds, or reduce or bounds are out of range.
        TypeError: if ``tied_to`` is not a DynOPool2d.

    The host must know alpha to size the output. It is read only where ``forward`` is given no size, and from an
    accelerator only when it has changed (writing through ``alpha.data`` there goes unseen: use :func:`set_alpha` or
    ``alpha.copy_`` under ``torch.no_grad()``). What is read is brought into the bounds, in the parameter too. Compiled,
    the module keeps the size within the bounds but not the parameter: call :func:`constrain_pools` after each step.
    """

    alpha: nn.Parameter | None

    def __init__(
        self,
        alpha: float | Sequence[float] = 2.0,
        *,
        reduce: Reduce = "max",
        bounds: Pair = (1 / 8, 2.0),
        tied_to: DynOPool2d | None = None,
    ) -> None:
        super().__init__()
        check_reduce(reduce)
        self.reduce: Reduce = reduce
        if tied_to is not None and not isinstance(tied_to, DynOPool2d):
            raise TypeError(f"tied_to is a {type(tied_to).__name__}: expected a DynOPool2d or None")
        # a tuple, so that the other module does not become a child of this one
        self._tied: tuple[DynOPool2d, ...] = () if tied_to is None else (tied_to.root(),)
        self._bounds: Pair = check_bounds(bounds) if tied_to is None else tied_to.bounds
        self._accepted: Pair = _pair(alpha, self._bounds) if tied_to is None else tied_to.root()._accepted
        self._seen: Pair = self._accepted  # what the parameter held when it was read or written last ...
        self._stamp: Stamp | None = None  # ... and the mark of those contents
        self._jump = False  # whether the next value is taken whole: it was loaded, not learned
        if tied_to is None:
            self.alpha = nn.Parameter(torch.tensor(self._accepted, dtype=torch.float32))
        else:
            self.register_parameter("alpha", None)

    def root(self) -> DynOPool2d:
        """The module that owns the alpha used here: itself unless tied."""
        return self._tied[0] if self._tied else self

    def shared_alpha(self) -> nn.Parameter:
        """The parameter used here: its own, or that of the module it is tied to."""
        alpha = self.root().alpha
        if alpha is None:
            raise RuntimeError("this DynOPool2d has lost its parameter alpha")
        return alpha

    @property
    def bounds(self) -> Pair:
        """Lowest and highest scale factor (output size / input size) of an axis."""
        return self.root()._bounds

    @bounds.setter
    def bounds(self, bounds: Pair) -> None:
        self.root()._bounds = check_bounds(bounds)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Resize x to ``size`` (H_out, W_out), or without it to the size that alpha gives."""
        alpha = self.shared_alpha()
        if size is None:
            if torch.compiler.is_compiling():  # no state of Python in a compiled graph; limits on what is read instead
                size = sizes_from_alpha(alpha, x, alpha_range(self.bounds))
            elif x.dim() >= 2 and 0 not in x.shape[-2:]:  # else the operator says what is wrong
                constrain_pools([self], trust=None)
                alpha_h, alpha_w = self.root()._accepted
                size = output_size(x.shape[-2], alpha_h), output_size(x.shape[-1], alpha_w)
        return dynopool2d(x, alpha, reduce=self.reduce, size=size)

    def extra_repr(self) -> str:
        """Alpha, the reduction and the bounds, as shown by print."""
        alpha = self.shared_alpha()
        values = ", ".join(f"{value:.4g}" for value in alpha.tolist()) if not alpha.is_meta else "meta"
        tied = ", tied" if self._tied else ""
        return f"alpha=({values}), reduce={self.reduce!r}, bounds=({self.bounds[0]:g}, {self.bounds[1]:g}){tied}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DynOPool2d:
        """Move as told, but keep the dtype: half precision is too coarse for steps of alpha."""

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._jump |= prefix + "alpha" in state_dict

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stamp": None}  # a copy has contents of its own


DynOPool = DynOPool2d


def host_alphas(pools: Sequence[DynOPool2d]) -> list[Pair]:
    """The (height, width) alphas of the pools as floats, read from the device in at most one copy.

    Only what may have changed since it was last read is copied; tied pools share a read. Nothing is projected: values
    are what the parameters hold.
    """
    roots = _roots(pools)
    values = dict(zip(map(id, roots), _host_values(roots), strict=True))
    return [values[id(pool.root())] for pool in pools]


def constrain_pools(pools: Sequence[DynOPool2d], *, trust: float | None = 0.1) -> bool:
    """Bring the alphas of the pools back to finite, positive values within bounds; to be called after each step.

    One device-to-host copy for all pools, none if nothing has changed; only what the projection changes is written
    back. Idempotent.

    Args:
        pools: the modules; tied ones count once.
        trust: largest relative change of a size since the last call (see :func:`dynpool.sizes.project_alpha`), or None
            for no limit. A value that was loaded or set is taken whole.

    Returns:
        whether any alpha is different from what it was at the last call.
    """
    roots = _roots(pools)
    changed = False
    for root, values in zip(roots, _host_values(roots), strict=True):
        limit = None if root._jump else trust
        alpha_h, alpha_w = (
            _float32(project_alpha(value, previous, root._bounds, limit))
            for value, previous in zip(values, root._accepted, strict=True)
        )
        changed |= (alpha_h, alpha_w) != root._accepted
        _accept(root, (alpha_h, alpha_w), write=(alpha_h, alpha_w) != values)
    return changed


def set_alpha(pool: DynOPool2d, alpha: float | Sequence[float]) -> None:
    """Set the alpha that a pool uses to one number or (height, width), free of the trust region.

    Raises:
        ValueError: if it is not finite and positive or is outside the pool's bounds.
    """
    _accept(pool.root(), _pair(alpha, pool.bounds), write=True)


def _accept(root: DynOPool2d, values: Pair, *, write: bool) -> None:
    alpha = root.shared_alpha()
    if write:
        with torch.no_grad():
            alpha.copy_(torch.tensor(values, dtype=alpha.dtype))
        root._seen, root._stamp = values, _stamp(alpha)
    root._accepted, root._jump = values, False


def _roots(pools: Sequence[DynOPool2d]) -> list[DynOPool2d]:
    """The owners of the pools' alphas, each once."""
    return list({id(pool.root()): pool.root() for pool in pools}.values())


def _host_values(roots: Sequence[DynOPool2d]) -> list[Pair]:
    """What the roots' parameters hold: in one copy for those that may have changed, from memory for the others."""
    changed = [root for root in roots if _may_have_changed(root)]
    for root, values in zip(changed, _read([root.shared_alpha() for root in changed]), strict=True):
        root._seen, root._stamp = values, _stamp(root.shared_alpha())
    return [root._seen for root in roots]


def _may_have_changed(root: DynOPool2d) -> bool:
    """Whether a read is due. On the CPU it always is: it stalls nothing, and sees writes through ``.data`` as well.

    On the meta device there is nothing to read: the last value stands.
    """
    alpha = root.shared_alpha()
    if alpha.is_meta:
        return False
    return alpha.device.type in _READ_ALWAYS or root._stamp is None or root._stamp != _stamp(alpha)


def _stamp(alpha: Tensor) -> Stamp | None:
    """Changes whenever the tensor is replaced, moved or written to in place, but not through ``.data``.

    None for an inference tensor, which does not count its changes.
    """
    return None if alpha.is_inference() else (id(alpha), alpha.data_ptr(), alpha._version)


def _read(alphas: Sequence[Tensor]) -> list[Pair]:
    """The values of all alphas in one copy from the device."""
    if not alphas:
        return []
    with torch.no_grad():
        return [(alpha_h, alpha_w) for alpha_h, alpha_w in torch.stack(list(alphas)).tolist()]


def _float32(value: float) -> float:
    """The value that a float32 parameter holds when it is set to ``value``."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _pair(alpha: float | Sequence[float], bounds: Pair) -> Pair:
    """Alpha given by the user as two float32 values within the bounds."""
    low, high = (_float32(limit) for limit in alpha_range(bounds))
    message = (
        f"alpha={alpha!r}: expected one or two (height, width) numbers from {low:g} to {high:g}, "
        f"the strides that bounds={bounds} on the scale factor allow"
    )
    pair = (alpha, alpha) if isinstance(alpha, (int, float)) else alpha
    try:
        values = [float(value + 0.0) for value in pair]  # the sum refuses strings, which float would parse
    except TypeError:
        raise TypeError(message) from None
    if len(values) != 2 or not all(math.isfinite(value) and low <= _float32(value) <= high for value in values):
        raise ValueError(message)
    return _float32(values[0]), _float32(values[1])
