"""The hooks by which a converted model computes its sizes before each pass, and keeps its alphas when loading."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch
import torch.fx
from torch import Tensor, nn

from dynpool.size_math import Size

from .compiled_sizes import open_size
from .nodes import Slot
from .saved_alphas import FROZEN_ALPHAS, from_bits, frozen_bits
from .tree import OUTSIDE, ResolutionTree, put_tree, resolution_tree

__all__ = ["GiveSize", "attach_tree", "detach_tree"]


class GiveSize:
    """A forward pre-hook: hands a resizer the size of its resolution."""

    def __init__(self, slot: Slot, tree: ResolutionTree) -> None:
        self.slot, self.tree = slot, tree

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        slot = self.slot
        if not args and kwargs:  # the layer that the resizer replaces is called by keyword, whatever its name
            name, *others = kwargs
            args, kwargs = (kwargs[name],), {other: kwargs[other] for other in others}
        exporting = torch.compiler._is_exporting_flag  # to compiled code is_exporting() is always True in torch 2.11
        if torch.compiler.is_dynamo_compiling() and slot.key is not None and not exporting:
            return args, {**kwargs, "size": slot.target(open_size(slot.key))}
        if slot.key is not None and any(isinstance(x, torch.fx.Proxy) for x in args):
            raise TypeError(f"torch.fx cannot trace a converted model: {OUTSIDE}")
        x = args[0] if args else None
        if isinstance(x, Tensor) and not torch.compiler.is_dynamo_compiling():
            self.tree.update_slot(slot, x)
        return args, {**kwargs, "size": slot.size}

    def frozen_target(self) -> Size:
        """The size in pixels that the resizer of a frozen model gives at the input of the conversion."""
        sizes = self.tree.sizes_at(self.tree.input_size[1:], self.tree.frozen)
        return self.slot.target(sizes[self.slot.resolution])


def attach_tree(model: nn.Module, tree: ResolutionTree) -> None:
    """Make `model` compute its sizes from `tree` before each pass."""
    tree.resizers = {path: model.get_submodule(path) for path in tree.slots}
    put_tree(model, tree)
    model.register_forward_pre_hook(tree, prepend=True, with_kwargs=True)
    model.register_forward_hook(tree.leave, always_call=True)
    model.register_load_state_dict_pre_hook(_keep_alphas)
    setattr(model, "__prepare_scriptable__", _refuse_script)  # noqa: B010 - that name is mangled otherwise
    tree.open_sizes()
    tree.constrain(trust=math.inf)


def detach_tree(model: nn.Module) -> None:
    """Undo `attach_tree` and every `GiveSize`."""
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, GiveSize | ResolutionTree):
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
    for key, hook in list(model._forward_hooks.items()):
        if isinstance(getattr(hook, "__self__", None), ResolutionTree):
            del model._forward_hooks[key]
            model._forward_hooks_always_called.pop(key, None)
    for key, hook in list(model._load_state_dict_pre_hooks.items()):
        if getattr(hook, "hook", None) is _keep_alphas:
            del model._load_state_dict_pre_hooks[key]
    put_tree(model, None)
    if hasattr(model, "__prepare_scriptable__"):
        delattr(model, "__prepare_scriptable__")


def _refuse_script() -> NoReturn:
    raise TypeError(f"torch.jit.script cannot compile a converted model: {OUTSIDE}")


def _keep_alphas(
    model: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any], *args: Any
) -> None:
    """Before loading: a state dict from before the conversion, which has no alphas at all, leaves them as they are.

    That of a frozen model has them under another name.
    """
    tree = resolution_tree(model)
    names = {id(module): f"{prefix}{name}.alpha" for name, module in model.named_modules()}
    alphas = {names[id(resizer)]: resizer.shared_alpha() for resizer in tree.owners} if tree is not None else {}
    frozen = frozen_bits(state_dict, prefix, metadata)
    state_dict.pop(prefix + FROZEN_ALPHAS, None)
    if not any(key in state_dict for key in alphas):
        values = (alpha.detach().clone() for alpha in alphas.values())
        if frozen is not None:
            values = (bits[: a.numel()] for bits, a in zip(from_bits(frozen), alphas.values(), strict=True))
        state_dict.update(zip(alphas, values, strict=True))
