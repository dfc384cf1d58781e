"""Sizes of a frozen model: those of the tree at its resizers' last values, for any input size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynpool.resizers import FixedInterpolate, FixedPool, is_recorded
from dynpool.size_math import PerAxis, Size

from .saved_alphas import FROZEN_ALPHAS, from_bits, frozen_bits, to_bits
from .stride_forms import set_native
from .tree import ResolutionTree

__all__ = ["FrozenSizes", "TakeStride", "attach_frozen", "detach_frozen", "frozen_sizes"]

_ATTRIBUTE = "_dynpool_frozen"


@dataclass
class FrozenSizes:
    """A forward pre-hook of a frozen model: it sets all sizes if the input size differs from the last one.

    At the same size it does nothing, so the sizes are constants in an exported or compiled model. After a pass without
    gradients (which is never recomputed in part) the sizes of the conversion are restored, as torch.fx reads them.

    Args:
        tree: the tree of the live model; its resizers are not part of the frozen one.
        values: the values of their parameters. The model also stores them in a buffer, which takes precedence.
        names: names of these parameters in the live model.
        strided: layer -> resizer, for layers that get their own stride back where that computes the same.
        last: the size in pixels of the input that the sizes are set for.
    """

    tree: ResolutionTree
    values: Sequence[PerAxis]
    names: Sequence[str] = ()
    strided: dict[str, str] = field(default_factory=dict)
    last: Size | None = None
    _read: tuple[int, int] | None = None  # the buffer's contents that the values are

    @property
    def conversion_size(self) -> Size:
        """The size in pixels of the input that the model was converted for."""
        return self.tree.input_size[1:]

    def at(self, hw: Size) -> list[Size]:
        """The size in pixels of every resolution for an input of `hw` pixels."""
        return self.tree.sizes_at(hw, self.values)

    def fill(self, model: nn.Module, hw: Size) -> None:
        """Set all sizes of `model` for an input of `hw` pixels."""
        self.tree.frozen = self.values
        sizes = self.at(hw)
        for slot in self.tree.slots.values():
            slot.fill(sizes[slot.resolution])
        for layer, resizer in self.strided.items():
            slot = self.tree.slots[resizer]
            if slot.strided is not None:
                set_native(model.get_submodule(layer), slot.strided, native=self.is_native(resizer, sizes))
        self.last = hw

    def sync(self, model: nn.Module) -> None:
        """Read the values from the model's buffer if it has been loaded."""
        buffer = model.get_buffer(FROZEN_ALPHAS)
        if is_recorded(buffer) or buffer.is_meta or buffer.is_inference():
            return
        contents = (id(buffer), buffer._version)
        if contents != self._read:
            self.take(model, from_bits(buffer))
            self._read = contents

    def take(self, model: nn.Module, alphas: Tensor) -> None:
        """Replace the values by `alphas` (n, axes).

        Raises:
            RuntimeError: if there are resizers in which more than the size depends on the values.
        """
        values = [tuple(alpha) for alpha in alphas.tolist()]
        if values == list(self.values):
            return
        for path in self.tree.slots:
            resizer = model.get_submodule(path)
            if not isinstance(resizer, FixedPool | FixedInterpolate):
                raise RuntimeError(
                    f"the state dict is of a model frozen at other sizes, and {path} ({type(resizer).__name__}) cannot "
                    "change: load it into the converted model and freeze that, or use dynpool.load"
                )
        self.values, self.last = values, None

    def is_native(self, resizer: str, sizes: Sequence[Size]) -> bool:
        """Whether a strided layer computes the same at these sizes as its stride-1 form with the resizer.

        It does at the sizes of the conversion, and at sizes that differ from them by whole windows.
        """
        slot = self.tree.slots[resizer]
        node = self.tree.nodes[slot.resolution]
        if slot.strided is None or node.parent is None:
            return False
        above, before = sizes[node.parent], self.tree.nodes[node.parent].reference
        axes = zip(above, before, sizes[slot.resolution], node.reference, slot.strided.stride, strict=True)
        return all(a - b == s * (n - r) for a, b, n, r, s in axes)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.sync(module)
        size = self.tree.image_size(args, kwargs)
        if size is None:
            return
        if not torch.compiler.is_dynamo_compiling():
            self.tree.running = True
        if size != self.last:
            self.fill(module, size)

    def back(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        """The forward hook that restores the sizes of the conversion."""
        if self.last != self.conversion_size and not torch.is_grad_enabled():
            self.fill(module, self.conversion_size)


class TakeStride:
    """A forward pre-hook of a strided layer that sets its stride to 1 if only a part of the model runs.

    The resizer behind it then computes the same and derives its size from its input.
    """

    def __init__(self, frozen: FrozenSizes, resizer: str) -> None:
        self.frozen, self.resizer = frozen, resizer

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if torch.compiler.is_dynamo_compiling() or self.frozen.tree.running or torch._C._is_tracing():
            return
        strided = self.frozen.tree.slots[self.resizer].strided
        if strided is not None and args and isinstance(args[0], Tensor):
            set_native(module, strided, native=False)
            self.frozen.last = None  # the next pass of the whole model puts it back

    def give(self, module: nn.Module) -> None:
        """Give the layer the stride that it has at the input of the conversion."""
        strided = self.frozen.tree.slots[self.resizer].strided
        if strided is not None:
            native = self.frozen.is_native(self.resizer, self.frozen.at(self.frozen.conversion_size))
            set_native(module, strided, native=native)


def frozen_sizes(model: nn.Module) -> FrozenSizes | None:
    """The `FrozenSizes` of a frozen model; None for other models."""
    found = getattr(model, _ATTRIBUTE, None)
    if not isinstance(found, FrozenSizes):
        return None
    found.sync(model)
    return found


def attach_frozen(model: nn.Module, frozen: FrozenSizes) -> None:
    """Make `model` take its sizes from `frozen`, initially for the input size of the conversion."""
    setattr(model, _ATTRIBUTE, frozen)
    device = next((p.device for p in model.parameters()), None)
    model.register_buffer(FROZEN_ALPHAS, to_bits(frozen.values).to(device))
    frozen.fill(model, frozen.conversion_size)
    model.register_forward_pre_hook(frozen, prepend=True, with_kwargs=True)
    model.register_forward_hook(frozen.back)
    model.register_forward_hook(frozen.tree.leave, always_call=True)
    model.register_load_state_dict_pre_hook(_keep_sizes)


def _keep_sizes(
    model: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any], *args: Any
) -> None:
    """Before loading: take the sizes from the state dict, also from that of a live model; keep them if it has none."""
    frozen = frozen_sizes(model)
    if frozen is None:
        return
    axes = len(frozen.conversion_size)
    bits = frozen_bits(state_dict, prefix, metadata)
    alphas = [state_dict.get(prefix + name) for name in frozen.names]
    if all(isinstance(alpha, Tensor) for alpha in alphas):
        bits = to_bits([tuple(state_dict.pop(prefix + name).expand(axes).tolist()) for name in frozen.names])
    if bits is None:
        bits = model.get_buffer(FROZEN_ALPHAS)
    if bits.shape == (len(frozen.values), axes) and not bits.is_meta:
        frozen.take(model, from_bits(bits))
    state_dict[prefix + FROZEN_ALPHAS] = bits


def detach_frozen(model: nn.Module) -> None:
    """Undo `attach_frozen`; the current sizes stay."""
    frozen = frozen_sizes(model)
    for hooks in (model._forward_pre_hooks, model._forward_hooks):
        for key, hook in list(hooks.items()):
            if frozen is not None and hook in (frozen, frozen.back, frozen.tree.leave):
                del hooks[key]
                model._forward_hooks_always_called.pop(key, None)
                model._forward_pre_hooks_with_kwargs.pop(key, None)
    del model._buffers[FROZEN_ALPHAS]
    delattr(model, _ATTRIBUTE)
