"""Freeze a converted model: a plain module with the learned sizes fixed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn

from dynpool.common.arguments import check_model
from dynpool.graph import check_input_size, deep_copy, trace, untouched
from dynpool.resizers import (
    DynOPoolAxes,
    FixedInterpolate,
    FixedPool,
    FollowInterpolate,
    FollowPool,
    LearnedResizer,
    Reduce,
    dynopool_class,
    host_alphas,
    learned_kernels,
    learned_resizers,
    set_alpha,
    usable_alphas,
)
from dynpool.resolution import (
    FROZEN_ALPHAS,
    FrozenSizes,
    GiveSize,
    Learned,
    TakeStride,
    attach_frozen,
    attach_tree,
    contained,
    detach_frozen,
    detach_tree,
    frozen_sizes,
    is_converted,
    open_to_fx,
    resolution_tree,
    set_native,
    unwrapped,
)
from dynpool.size_math import AXES, PerAxis, Size

from .functional_calls import shield
from .kernel_layers import freeze_kernels
from .report import detach_report
from .rewrite import replace_module
from .torchscript import let_script

__all__ = ["FreezeReport", "FrozenRow", "freeze", "freeze_report", "thawed"]


@dataclass(frozen=True)
class FrozenRow:
    """One resolution of a frozen model: its size, its strides, and the layers that resize to it.

    `strided` layers have their original stride again, which computes the same; `resized` ones have a fixed pool before
    or behind them.
    """

    name: str
    size: Size
    strides: PerAxis
    strided: tuple[str, ...]
    resized: tuple[str, ...]


@dataclass(frozen=True)
class FreezeReport:
    """Sizes in pixels, per axis, of a frozen model at its conversion's input size, one row per resolution."""

    input_size: tuple[int, ...]
    rows: tuple[FrozenRow, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"input_size": list(self.input_size), "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        width = max([len(row.name) for row in self.rows] + [10])
        axes = AXES[len(self.input_size) - 1]
        wide = max(6 * len(axes) + 1, 7)
        head = "  ".join(f"{axis:>6}" for axis in axes)
        lines = [f"{'resolution':<{width}}  {head}  {'strides':>{wide}}  layers"]
        for row in self.rows:
            size = "  ".join(f"{n:>6}" for n in row.size)
            strides = " ".join(f"{stride:.3f}" for stride in row.strides)
            layers = f"{len(row.strided)} strided, {len(row.resized)} resized"
            lines.append(f"{row.name:<{width}}  {size}  {strides:>{wide}}  {layers}")
        return "\n".join(lines)


@torch.inference_mode(False)
def freeze(model: nn.Module, *, input_size: Sequence[int] | None = None, inputs: Any = None) -> nn.Module:
    """A plain copy of a model with the sizes it has learned, and no alphas; kernels that are learned become fixed, too.

    It consists of PyTorch's own operations: resizers become interpolation and pooling to a fixed size. A layer of a
    model converted with `preserve=True` gets its original stride back if that computes the same as its stride-1 form
    with the resizer. Outputs equal those of the live model up to rounding, at other input sizes too. The state dict has
    the entries of that of the original model, and the sizes in its metadata; inside a larger module they are also in an
    entry `frozen_sizes`, for formats that only keep tensors. Loading it into a model that was frozen or converted in
    the same way also loads the sizes. See `freeze_report(frozen)` for the result, and `sizes(frozen, input_size)` for
    the sizes.

    It can be exported, compiled, traced (torch.jit.trace, torch.fx) and scripted, at one input size at a time; the
    sizes are then constants. torch.fx and torch.jit.script, which get no input, use those of the conversion, also for a
    part of the model. torch.fx does not record hooks of the outermost module: trace a model whose own forward calls
    pools as functions as `nn.Sequential(frozen)`.

    A convolution that learns its kernel (`LearnedKernelConv2d`) becomes an `nn.Conv2d` with the live kernel as its
    `weight`, also in a model without learned sizes; its outputs are the same.

    Of a model with hand-placed resizers, these alone are replaced. A DynOPool keeps its strides, so its size still
    follows from that of its input. Another resizer gets the size that it has at `input_size`.

    Args:
        model: a converted model, or one with hand-placed resizers.
        input_size: (C, H, W) of the input, or other axes, for hand-placed resizers other than DynOPool.
        inputs: the arguments of the forward of such a model, if an image is not enough.

    Raises:
        ValueError: for a model without learned sizes, or without an `input_size` where it is needed; or if a
            hand-placed resizer other than DynOPool has several sizes in a pass.
    """
    check_model(model)
    model = unwrapped(model)
    live = resolution_tree(model)
    if live is None:
        for name in contained(model, is_converted):
            raise ValueError(
                f"freeze needs a converted model, got a {type(model).__name__}: its child {name!r} is one, freeze that"
            )
        if learned_resizers(model) or learned_kernels(model):
            return _freeze_by_hand(model, input_size, inputs)
        raise ValueError(
            f"freeze needs a model with learned sizes or kernels, got a {type(model).__name__}: convert it, or place a "
            "resizer in it"
        )
    hw = live.input_size[1:]
    now = live.sizes_at(hw)
    with untouched(model), live.at(hw):  # the copies get the sizes of the whole network
        plain, tree = deep_copy((model, live))
    detach_tree(plain)
    detach_report(plain)
    plain = freeze_kernels(plain)
    tree.ceiling = None
    tree.open_sizes(open=False)
    names = {id(module): f"{name}.alpha" for name, module in plain.named_modules()}
    frozen = FrozenSizes(tree, host_alphas(tree.owners), [names[id(resizer)] for resizer in tree.owners])
    modules = dict(plain.named_modules())
    for path, slot in tree.slots.items():
        owner = path.rpartition(".")[0]
        resizer = modules[path]
        if not isinstance(resizer, LearnedResizer | FollowPool):
            raise TypeError(f"{path} is a {type(resizer).__name__}, not a resizer: the converted model was changed")
        fixed = resizer.frozen(slot.target(now[slot.resolution])).train(resizer.training)
        if "size" in inspect.signature(fixed.forward).parameters:
            fixed.register_forward_pre_hook(GiveSize(slot, tree), with_kwargs=True)
        replace_module(modules, path, fixed)
        open_to_fx(modules[owner])
        if isinstance(resizer, LearnedResizer) and frozen.is_native(path, now):
            frozen.strided[owner] = path
            modules[owner].register_forward_pre_hook(TakeStride(frozen, path))
    shield(plain)
    attach_frozen(plain, frozen)
    let_script(plain)
    return plain


def _freeze_by_hand(model: nn.Module, input_size: Sequence[int] | None, inputs: Any) -> nn.Module:
    with untouched(model):
        plain = deep_copy(model)
    resizers = learned_resizers(plain)
    names = [name for name, resizer in resizers.items() if not _is_dynopool(resizer)]
    sizes: dict[int, set[Size]] = {id(resizers[name]): set() for name in names}

    def record(resizer: LearnedResizer[Any], size: Size) -> Size:
        out = resizer.output_size(size, resizer.strides(usable_alphas([resizer])[0]))
        sizes.setdefault(id(resizer), set()).add(out)
        return out

    if names and input_size is None:
        kind, axes = type(resizers[names[0]]).__name__, ", ".join(AXES[resizers[names[0]].axes])
        raise ValueError(
            f"freeze needs input_size=(channels, {axes}): {names[0]!r} is a {kind}, which is frozen to one size"
        )
    if names and input_size is not None:
        trace(plain, check_input_size(input_size), inputs=inputs, choose=record)
    fixed: dict[str, nn.Module] = {}
    for name, resizer in resizers.items():
        if isinstance(resizer, DynOPoolAxes) and _is_dynopool(resizer):
            fixed[name] = resizer.with_fixed_strides()
            continue
        if len(sizes[id(resizer)]) != 1:
            found = sorted(sizes[id(resizer)]) or "none: it is not called"
            raise ValueError(f"{name!r} is a {type(resizer).__name__} and needs one size in a pass, but has {found}")
        fixed[name] = resizer.frozen(next(iter(sizes[id(resizer)])))
    modules = dict(plain.named_modules())
    for name, module in fixed.items():
        replace_module(modules, name, module.train(resizers[name].training))
    return fixed.get("", freeze_kernels(plain))  # the model itself may be a resizer


def _is_dynopool(resizer: nn.Module) -> bool:
    """Whether it is a DynOPool; not a subclass of one, which may differ."""
    return isinstance(resizer, DynOPoolAxes) and type(resizer) is dynopool_class(resizer.axes)


@torch.inference_mode(False)
def thawed(model: nn.Module) -> nn.Module:
    """A converted copy of a model made by `freeze`, with the sizes it has; the inverse of `freeze`.

    Outputs equal those of the frozen model up to rounding. Layers that had their original stride back run at stride 1
    with the resizer behind them. There is no ceiling on the GMACs, and no conversion report.

    Raises:
        ValueError: if the model was not made by `freeze`, or has learned resizers other than DynOPool, whose frozen
            forms do not keep all of their settings.
    """
    check_model(model)
    with untouched(model):
        live = deep_copy(unwrapped(model))
    frozen = frozen_sizes(live)
    if frozen is None:
        raise ValueError(f"model is a {type(model).__name__}, which was not made by dynpool.freeze")
    tree, modules = frozen.tree, dict(live.named_modules())
    device = live.get_buffer(FROZEN_ALPHAS).device
    detach_frozen(live)
    for layer in modules.values():
        for key, hook in list(layer._forward_pre_hooks.items()):
            if isinstance(hook, TakeStride):
                del layer._forward_pre_hooks[key]
    tree.frozen = None
    for (_, _, resizer), values in zip(tree.learned, frozen.values, strict=True):
        resizer.to(device).admit(values)
        set_alpha(resizer, values)
    for path, slot in tree.slots.items():
        fixed, node = modules[path], tree.nodes[slot.resolution]
        if slot.strided is not None:
            set_native(modules[path.rpartition(".")[0]], slot.strided, native=False)
        owner = node.rule.resizer if isinstance(node.rule, Learned) else None
        if isinstance(fixed, FixedInterpolate):
            factor = None if fixed.factor is None else tuple(fixed.factor)
            live_one: nn.Module = FollowInterpolate(mode=fixed.mode, align_corners=fixed.align_corners, factor=factor)
        elif not isinstance(fixed, FixedPool) or not isinstance(owner, DynOPoolAxes | None):
            raise ValueError(
                f"model is a {type(model).__name__} that was frozen with {type(owner).__name__}, which cannot be "
                "undone: use the converted model"
            )
        elif owner is None or slot.source != node.parent:
            live_one = FollowPool(reduce=cast("Reduce", fixed.reduce))
        else:
            placed = any(module is owner for module in modules.values())
            pool: DynOPoolAxes[Any] = type(owner)(tied_to=owner) if placed else owner
            pool.reduce = cast("Reduce", fixed.reduce)
            live_one = pool
        live_one._forward_pre_hooks.clear()
        live_one.train(fixed.training).register_forward_pre_hook(GiveSize(slot, tree), with_kwargs=True)
        replace_module(modules, path, live_one)
    shield(live)
    attach_tree(live, tree)
    return live


def freeze_report(model: nn.Module) -> FreezeReport:
    """The sizes of a model made by `freeze`, and the layers that have their original stride again.

    Raises:
        ValueError: if the model was not made by `freeze` from a converted one.
    """
    check_model(model)
    frozen = frozen_sizes(model)
    if frozen is None:
        raise ValueError(f"model is a {type(model).__name__}, which was not made by dynpool.freeze")
    tree = frozen.tree
    sizes = frozen.at(tree.input_size[1:])
    native = {path for path in frozen.strided.values() if frozen.is_native(path, sizes)}
    rows = []
    for i, (node, size) in enumerate(zip(tree.nodes, sizes, strict=True)):
        above = sizes[node.parent if node.parent is not None else i]
        mine = [path for path, slot in tree.slots.items() if slot.resolution == i]
        rows.append(
            FrozenRow(
                node.name,
                size,
                tuple(n / m for n, m in zip(above, size, strict=True)),
                tuple(p.removesuffix(".resize") for p in mine if p in native),
                tuple(p.removesuffix(".resize") for p in mine if p not in native),
            )
        )
    return FreezeReport(tree.input_size, tuple(rows))
