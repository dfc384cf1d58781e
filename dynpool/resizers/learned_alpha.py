"""A parameter from which a size follows, a number for each axis: its ties, bounds and state, its values on the host."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_flags
from dynpool.size_math import AXES, Pair, alpha_range, axes_text, check_bounds, project_alpha

from .host_values import float32, has_values, numbers, read_values, write_values
from .weight_decay import watch_for_decay

__all__ = [
    "LearnedAlpha", "check_axes", "constrain_resizers", "host_alphas", "is_own", "learned_alphas", "set_alpha",
    "usable_alphas",
]  # fmt: skip

Stamp = tuple[int, int, int]
V = TypeVar("V", bound=tuple[float, ...])  # a number for each axis: a Pair for (height, width)

_READ_ALWAYS = frozenset({"cpu"})
_FORGOTTEN = (
    "an alpha was not a finite positive stride before a pass, and was replaced by its last value changed by a tenth: "
    "call dynpool.constrain(model) after each optimizer.step(), and do not apply weight decay to alphas "
    "(dynpool.parameter_groups)"
)
_EXPECTED = {1: "one number"} | {
    axes: f"one or {count} ({', '.join(AXES[axes])}) numbers" for axes, count in ((2, "two"), (3, "three"))
}
_STEP = 0.1  # default trust region: largest relative change of a size in one optimiser step


class LearnedAlpha(nn.Module, Generic[V]):
    """What a learned resizer learns by: the parameter, or the tie to that of another."""

    #: The number of spatial axes of the maps that it resizes.
    axes: ClassVar[int] = 2

    alpha: nn.Parameter | None

    def __init__(
        self,
        alpha: float | Sequence[float],
        *,
        bounds: Pair = (1 / 8, 2.0),
        tied_to: Self | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__()
        check_flags(shared=shared)
        if tied_to is not None and not isinstance(tied_to, type(self)):
            name = type(self).__name__
            raise TypeError(f"tied_to is a {type(tied_to).__name__}: expected a {name} or None")
        # in a tuple, so that nn.Module does not register it as a child
        self._tied: tuple[Self, ...] = () if tied_to is None else (tied_to.root(),)
        self._bounds: Pair = check_bounds(bounds) if tied_to is None else tied_to.bounds
        self._accepted: V = self.checked(alpha) if tied_to is None else tied_to.root()._accepted
        self._seen: V = self._accepted  # the values when the parameter was last read or written ...
        self._stamp: Stamp | None = None  # ... and the stamp of these contents
        self._parameter: int | None = None  # id of that parameter
        self._jump = False  # whether the next value is accepted without a trust region, as it was loaded
        self._constrained = False  # whether it is constrained after each step, and read then
        if tied_to is None:
            start = self._accepted[:1] if shared else self._accepted
            self.alpha = nn.Parameter(torch.tensor(start, dtype=torch.float32))
            self._parameter = id(self.alpha)
            watch_for_decay(self)
        else:
            self.register_parameter("alpha", None)

    # -- the relation of the parameter to strides; by default it is the stride --

    def strides(self, values: V) -> V:
        """The strides, input size / output size, along (height, width) or other axes if the parameter is ``values``."""
        return values

    def values_of(self, strides: V) -> V:
        """Values of the parameter for which :meth:`strides` is nearest to these, before :meth:`project`."""
        return strides

    def checked(self, values: float | Sequence[float]) -> V:
        """The values that a user gives for the parameter, as float32 numbers, one for each axis.

        Raises:
            TypeError: if it is not one number or one for each axis.
            ValueError: if a value is not finite, not allowed or outside the bounds.
        """
        low, high = (float32(limit) for limit in alpha_range(self.bounds))
        message = (
            f"alpha={values!r}: expected {_EXPECTED[self.axes]} from {low:g} to {high:g}, "
            f"the strides that bounds={self.bounds} on the scale factor allow"
        )
        found = tuple(map(float32, numbers(values, self.axes, message)))
        if not all(low <= value <= high for value in found):
            raise ValueError(message)
        return cast("V", found)

    def project(self, values: V, previous: V, trust: float | None) -> V:
        """The admissible values nearest to ``values`` (possibly NaN or infinite) after an optimiser's step.

        Args:
            values: the parameter's values.
            previous: the last admissible values.
            trust: largest relative change of a size; None: no limit.
        """
        both = zip(values, previous, strict=True)
        return cast("V", tuple([project_alpha(v, p, self.bounds, trust) for v, p in both]))

    def make_room(self, strides: V) -> None:
        """Widen the bounds, if necessary, so that these strides are allowed."""
        lowest, highest = self.bounds
        self.bounds = (min(lowest, 1 / (2 * max(strides))), max(highest, 2 / min(strides)))

    # -- shared by all resizers --

    def root(self) -> Self:
        """The module that owns the parameter in use: itself unless tied."""
        return self._tied[0] if self._tied else self

    def shared_alpha(self) -> nn.Parameter:
        """The parameter in use: its own, or that of the module it is tied to."""
        alpha = self.root().alpha
        if alpha is None:
            raise RuntimeError(f"this {type(self).__name__} has lost its parameter alpha")
        return alpha

    @property
    def bounds(self) -> Pair:
        """Lowest and highest scale factor (output size / input size) per axis."""
        return self.root()._bounds

    @bounds.setter
    def bounds(self, bounds: Pair) -> None:
        self.root()._bounds = check_bounds(bounds)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Apply `fn` but keep the dtype: half precision is too coarse for steps of alpha."""

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)
        return self

    def admit(self, values: V) -> None:
        """Widen the bounds if loaded values of the parameter lie outside of them."""
        strides = self.strides(values)
        if all(0 < stride < math.inf for stride in strides):
            wanted = cast("V", tuple(map(float32, self.values_of(strides))))
            if tuple(map(float32, self.project(wanted, wanted, None))) != wanted:
                self.make_room(strides)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if metadata is not None and self.alpha is not None:
            metadata["bounds"] = self._bounds

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        name = prefix + "alpha"
        loaded = state_dict.get(name) if self.alpha is not None else None
        values = None
        if isinstance(loaded, Tensor) and not loaded.is_meta and loaded.shape == self.shared_alpha().shape:
            values = _spread(self.root(), *read_values([loaded]))
            if not all(math.isfinite(v) for v in values) or not all(0 < s < math.inf for s in self.strides(values)):
                error_msgs.append(f"{name} is {loaded.tolist()}: expected finite values that give positive strides")
                return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if loaded is not None:
            self._jump = True
            self.bounds = local_metadata.get("bounds", self.bounds)
        if values is not None:
            self.admit(values)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stamp": None, "_parameter": None}  # a copy has its own parameter

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        watch_for_decay(self)


def learned_alphas(model: nn.Module) -> dict[str, LearnedAlpha[Any]]:
    """The modules of a model that own an alpha, by module path: resizers of one, two and three axes."""
    found = {path: module for path, module in model.named_modules() if isinstance(module, LearnedAlpha)}
    return {path: module for path, module in found.items() if module.alpha is not None}


def check_axes(model: nn.Module, axes: int, what: str) -> None:
    """Raise ValueError if a model has learned resizers of other numbers of axes; ``what`` handles these alone."""
    for path, module in model.named_modules():
        if isinstance(module, LearnedAlpha) and module.axes != axes:
            raise ValueError(
                f"model has a {type(module).__name__} at {path or 'its top'!r}: {what} handles learned resizers of "
                f"{axes_text(axes)} alone"
            )


# ----------------------------------------------------------------------------------- between the device and the host


def host_alphas(resizers: Sequence[LearnedAlpha[V]]) -> list[V]:
    """The values of the resizers' parameters, a float for each axis, read from the device in at most one copy.

    Only parameters that may have changed since the last read are copied; tied resizers share a read. Values are not
    projected.
    """
    roots = _roots(resizers)
    values = dict(zip(map(id, roots), _host_values(roots), strict=True))
    return [values[id(resizer.root())] for resizer in resizers]


def usable_alphas(resizers: Sequence[LearnedAlpha[V]]) -> list[V]:
    """The values of :func:`host_alphas`, projected as for a pass: see ``trust=None`` of :func:`constrain_resizers`."""
    values = zip(resizers, host_alphas(resizers), strict=True)
    return [_projected(resizer.root(), held, None) for resizer, held in values]


def constrain_resizers(resizers: Sequence[LearnedAlpha[Any]], *, trust: float | None = 0.1) -> bool:
    """Bring the parameters of the resizers back to admissible values; to be called after each step.

    One device-to-host copy for all of them (before a pass, that is without a trust region, of what may have changed);
    only what the projection changes is written back. Idempotent. Values that `torch.func.functional_call` puts in a
    parameter's place are left alone.

    Args:
        resizers: the modules; tied ones count once.
        trust: largest relative change of a size since the last call (see :meth:`LearnedAlpha.project`), or None
            for no limit: but what is no stride at all (NaN, infinite, negative) is then one step of 0.1 from the last
            admissible value. A value that was loaded or set is taken whole.

    Returns:
        whether any value is different from what it was at the last call.
    """
    roots = [root for root in _roots(resizers) if is_own(root.shared_alpha())]
    for root in roots:  # an optimiser can have written without leaving a mark: fused ones do
        root._constrained |= trust is not None
        if trust is not None or (torch.is_grad_enabled() and not root._constrained):
            root._stamp = None
    changed = False
    for root, values in zip(roots, _host_values(roots), strict=True):
        admissible = _projected(root, values, None if root._jump else trust)
        changed |= admissible != root._accepted
        _accept(root, admissible, write=admissible != values)
    return changed


def set_alpha(resizer: LearnedAlpha[Any], alpha: float | Sequence[float]) -> None:
    """Set the parameter that a resizer uses to one number or one for each axis, free of the trust region.

    Raises:
        ValueError: if the resizer does not allow it (:meth:`LearnedAlpha.checked`), or if height and width differ
            where they share a number.
    """
    values = resizer.checked(alpha)
    if resizer.shared_alpha().numel() == 1 and values[0] != values[-1]:
        raise ValueError(f"alpha={alpha!r}: expected one number, which height and width share")
    _accept(resizer.root(), values, write=True)


def _accept(root: LearnedAlpha[V], values: V, *, write: bool) -> None:
    alpha = root.shared_alpha()
    if write:
        write_values(alpha, values[: alpha.numel()])
        root._seen, root._stamp = values, _stamp(alpha)
    root._accepted, root._jump = values, False


def _projected(root: LearnedAlpha[V], values: V, trust: float | None) -> V:
    """The admissible values nearest to these; see ``trust`` of :func:`constrain_resizers`."""
    new: tuple[float, ...] = root.project(values, root._accepted, trust)
    if trust is None:
        cut = root.project(values, root._accepted, _STEP)
        sound = [math.isfinite(v) and 0 < s < math.inf for v, s in zip(values, _strides(root, values), strict=True)]
        new = tuple([whole if good else small for whole, small, good in zip(new, cut, sound, strict=True)])
        if not all(sound):
            warnings.warn(_FORGOTTEN, stacklevel=2)
    return cast("V", tuple(map(float32, new)))


def _strides(root: LearnedAlpha[V], values: V) -> tuple[float, ...]:
    """The strides of values that may be infinite or NaN."""
    return root.strides(values) if all(map(math.isfinite, values)) else (1.0,) * len(values)


def _roots(resizers: Sequence[LearnedAlpha[V]]) -> list[LearnedAlpha[V]]:
    """The owners of the resizers' alphas, each once."""
    return list({id(resizer.root()): resizer.root() for resizer in resizers}.values())


def _host_values(roots: Sequence[LearnedAlpha[V]]) -> list[V]:
    """The values of the roots' parameters: in one copy for those that may have changed, from the cache for others."""
    changed = [root for root in roots if _may_have_changed(root)]
    found = {id(root): root._seen for root in roots}
    for root, read in zip(changed, read_values([root.shared_alpha() for root in changed]), strict=True):
        alpha, values = root.shared_alpha(), _spread(root, read)
        found[id(root)] = values
        if not is_own(alpha):
            continue
        if type(alpha) is nn.Parameter and root._parameter not in (None, id(alpha)):  # replaced, not written to
            root._jump = True
            root.admit(values)
        root._seen, root._stamp, root._parameter = values, _stamp(alpha), id(alpha)
    return [found[id(root)] for root in roots]


def _may_have_changed(root: LearnedAlpha[Any]) -> bool:
    """Whether a parameter must be read. On a CPU always, as that is cheap and detects all writes.

    Elsewhere if its stamp has changed. A parameter without values is never read.
    """
    alpha = root.shared_alpha()
    if not has_values(alpha):
        return False
    if alpha.device.type in _READ_ALWAYS or not is_own(alpha) or root._stamp is None:
        return True
    return root._stamp != _stamp(alpha)


def is_own(alpha: Tensor) -> bool:
    """Whether `alpha` is the module's own parameter, not a tensor that torch.func or DataParallel substituted."""
    return isinstance(alpha, nn.Parameter)


def _stamp(alpha: Tensor) -> Stamp | None:
    """A stamp that changes if the tensor is replaced, moved or written in place (not by ``.data`` or fused optimisers).

    None if there is no such stamp: for inference tensors and DTensors.
    """
    if alpha.is_inference() or type(alpha.data) is not Tensor:
        return None
    return id(alpha), alpha.data_ptr(), alpha._version


def _spread(root: LearnedAlpha[V], read: Sequence[float]) -> V:
    """A value for each axis, as read from a parameter, which may have one number for all of them."""
    return cast("V", tuple(read) if len(read) == root.axes else (read[0],) * root.axes)
