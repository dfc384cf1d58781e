"""The one module of some kind that a wrapper holds: DistributedDataParallel, torch.compile, a LightningModule."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

__all__ = ["beside", "held", "the_one", "unwrapped", "without_sharding"]

_ALL = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module"})  # what wrappers call what they hold
_WRITTEN_BY = frozenset("torch timm accelerate deepspeed lightning pytorch_lightning".split())


def unwrapped(model: nn.Module) -> nn.Module:
    """The module in wrappers of known libraries that do nothing but run it; others as they are."""
    while True:
        children = dict(model.named_children())
        known = type(model).__module__.partition(".")[0] in _WRITTEN_BY
        if not known or len(children) != 1 or not _ALL & children.keys():
            return model
        (model,) = children.values()


def held(model: nn.Module, wanted: Callable[[nn.Module], bool]) -> dict[str, nn.Module]:
    """The modules in `model`, itself included, for which `wanted` holds, by their paths."""
    return {name: module for name, module in model.named_modules() if wanted(module)}


def the_one(model: nn.Module, wanted: Callable[[nn.Module], bool], what: str) -> nn.Module:
    """The one module in `model`, itself included, for which `wanted` holds; `model` if there is none.

    Raises:
        ValueError: if there are several; the message names them.
    """
    found = held(model, wanted)
    if len(found) > 1:
        raise ValueError(f"the {type(model).__name__} holds {len(found)} {what}, give one of them: {', '.join(found)}")
    return next(iter(found.values()), model)


def beside(model: nn.Module, child: nn.Module) -> list[str]:
    """The names of the parameters of `model` that are not its child's."""
    inside = {id(p) for p in child.parameters()}
    return [name for name, p in model.named_parameters() if id(p) not in inside]


def without_sharding(model: nn.Module) -> None:
    """Take away the hooks by which FSDP2 (`fully_shard`) gathers the weights; for a copy, or one to be put back."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in list(hooks.items()):
                owner = type(getattr(hook, "__self__", None))
                if owner.__module__.startswith("torch.distributed.fsdp"):
                    del hooks[key]
