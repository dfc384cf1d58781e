"""Applies a plan: puts a resizer in place of a layer, behind it or before it."""

from __future__ import annotations

from torch import nn

from dynpool.graph import Resize
from dynpool.resolution import ResizeAfter, Strided, resize_before

from .registry import Plan

__all__ = ["replace_module", "rewrite"]


def rewrite(
    modules: dict[str, nn.Module], resize: Resize, plan: Plan, resizer: nn.Module
) -> tuple[str, Strided | None]:
    """Rewrite the layer that runs `resize`, and update `modules`, the model's modules by path.

    Returns:
        The resizer's module path; and the layer's stride, if sampling its output is equivalent to that, else None.
    """
    path = resize.path
    layer = modules[path]
    if plan.place == "instead":
        replace_module(modules, path, resizer)
        return path, None
    before = {name: getattr(layer, name) for name in ("stride", "ceil_mode") if hasattr(layer, name)}
    formed = layer if plan.form is None else plan.form(layer)
    if formed is not layer:
        replace_module(modules, path, formed.train(layer.training))
        before = {"stride": resize.stride}
    formed.register_module("resize", resizer)
    if plan.place == "before":
        formed.register_forward_pre_hook(resize_before, with_kwargs=True)
        return f"{path}.resize", None
    formed.register_forward_hook(ResizeAfter(plan.start, plan.end), prepend=True)  # other hooks see the resized map
    return f"{path}.resize", Strided(resize.stride, before) if plan.reduce == "sample" else None


def replace_module(modules: dict[str, nn.Module], path: str, module: nn.Module) -> None:
    """Replace the module at `path` wherever it is registered, and update `modules`, the model's modules by path."""
    old = modules[path]
    for owner in list(modules.values()):
        for name, child in list(owner._modules.items()):
            if child is old:
                owner.register_module(name, module)
    modules[path] = module
