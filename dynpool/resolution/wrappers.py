"""Models inside wrappers such as DistributedDataParallel, torch.compile or a LightningModule."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

__all__ = ["check_unwrapped", "contained", "only_module", "unwrapped", "weights_outside", "without_sharding"]

_ALL = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module"})  # names under which wrappers store the model
_WRITTEN_BY = frozenset("torch timm accelerate deepspeed lightning pytorch_lightning".split())


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without wrappers of known libraries that only run it."""
    while True:
        children = dict(model.named_children())
        known = type(model).__module__.partition(".")[0] in _WRITTEN_BY
        if not known or len(children) != 1 or not _ALL & children.keys():
            return model
        (model,) = children.values()


def check_unwrapped(model: nn.Module, task: str) -> None:
    """Raise ValueError for a wrapper such as DataParallel or a compiled model, whose layers cannot be replaced."""
    inner = unwrapped(model)
    if inner is not model:
        raise ValueError(
            f"model is a {type(model).__name__}, which wraps a {type(inner).__name__}: {task} that, "
            "then wrap the result"
        )


def contained(model: nn.Module, wanted: Callable[[nn.Module], bool]) -> dict[str, nn.Module]:
    """All modules in `model`, itself included, for which `wanted` is true, by path."""
    return {name: module for name, module in model.named_modules() if wanted(module)}


def only_module(model: nn.Module, wanted: Callable[[nn.Module], bool], what: str) -> nn.Module:
    """The only module in `model`, itself included, for which `wanted` is true; `model` if there is none.

    Raises:
        ValueError: if there are several; the message names them.
    """
    found = contained(model, wanted)
    if len(found) > 1:
        raise ValueError(
            f"model is a {type(model).__name__}, which contains {len(found)} {what}: pass one of {', '.join(found)}"
        )
    return next(iter(found.values()), model)


def weights_outside(model: nn.Module, child: nn.Module) -> list[str]:
    """The names of the parameters of `model` that do not belong to the given child."""
    inside = {id(p) for p in child.parameters()}
    return [name for name, p in model.named_parameters() if id(p) not in inside]


def without_sharding(model: nn.Module) -> None:
    """Remove the hooks with which FSDP2 (`fully_shard`) gathers the weights; for copies, or to be restored later."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in list(hooks.items()):
                owner = type(getattr(hook, "__self__", None))
                if owner.__module__.startswith("torch.distributed.fsdp"):
                    del hooks[key]
