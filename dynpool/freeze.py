"""Freeze a converted model: a plain module with the learned sizes fixed."""

from __future__ import annotations

import copy

from torch import nn

from .conversion_report import detach_report
from .fixed import FollowPool2d
from .resizer import LearnedResizer2d
from .resolution import detach_tree, resolution_tree

__all__ = ["freeze"]


def freeze(model: nn.Module) -> nn.Module:
    """A plain copy of a converted model with the sizes it has at its conversion's input size, and no alphas.

    Outputs are the live model's to rounding; the state dict is the original model's.

    Raises:
        ValueError: if the model was not made by `convert`.
    """
    tree = resolution_tree(model)
    if tree is None:
        raise ValueError(f"freeze needs a converted model, got a {type(model).__name__}")
    hw = (tree.input_size[1], tree.input_size[2])
    now = tree.sizes_at(hw)
    with tree.at(hw):  # the copies know the sizes of the whole network
        plain = copy.deepcopy(model)
    detach_tree(plain)
    detach_report(plain)
    for path, slot in tree.slots.items():
        owner, _, leaf = path.rpartition(".")
        live = plain.get_submodule(path)
        if not isinstance(live, LearnedResizer2d | FollowPool2d):
            raise TypeError(f"{path} is a {type(live).__name__}, not a resizer: the converted model was changed")
        fixed = live.frozen(slot.target(now[slot.resolution])).train(live.training)
        plain.get_submodule(owner).register_module(leaf, fixed)
    return plain
