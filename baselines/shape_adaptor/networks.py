"""Networks with Shape Adaptors as in the paper: standard, shape compression (AutoSC) and transfer learning (AutoTL).

Reference: Liu et al., "Shape Adaptor: A Learnable Resizing Module", ECCV 2020, sections 3 to 5.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import nn

from dynpool.common.arguments import check_flags, check_model, check_whole
from dynpool.conversion import ConversionReport, ConversionRow, attach_report, convert
from dynpool.graph import (
    Graph,
    PassOptions,
    Resize,
    check_input_size,
    deep_copy,
    described,
    keep_options,
    prepared,
    trace,
)
from dynpool.resizers import check_axes, learned_resizers
from dynpool.resolution import (
    Derived,
    GiveSize,
    Learned,
    ResolutionNode,
    ResolutionTree,
    Slot,
    attach_description,
    attach_tree,
    check_unwrapped,
    resolution_tree,
)
from dynpool.size_math import Size

from .mixture import Bookkeeping
from .positions import Layer, find_layers, layers_that_keep
from .resizer import ShapeAdaptor2d, check_limit
from .size_math import initial_alpha, uniform_positions

__all__ = ["shape_adaptor_network"]

Mode = Literal["standard", "autosc", "autotl"]

_AUTOSC_ALPHA, _AUTOTL_ALPHA = 2.19, -2.19  # s near 0.95 and 0.55


def shape_adaptor_network(
    model: nn.Module,
    input_size: Sequence[int] = (3, 224, 224),
    *,
    mode: Mode = "standard",
    adaptors: int | None = None,
    last_size: int = 8,
    limit: float | None = None,
    parity: bool = False,
    align_corners: bool = True,
    published: bool = False,
    inputs: Any = None,
    batch: int | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """A copy of a backbone that learns its sizes with Shape Adaptors, placed and initialised as in the paper.

    Liu et al., ECCV 2020: section 3 ("standard"), 5.1 (AutoTL) and 5.2 (AutoSC). The copy has a tree of resolutions, so
    `dynpool.resolutions`, `sizes`, `set_sizes`, `constrain`, `GMACsLoss`, `parameter_groups`, `freeze` and
    `dynpool.analysis.IMinTracker` work as for a converted model. A resolution is named after the layer it follows.

    - "standard": the backbone's own strides and pools are removed. ``adaptors`` (default floor(log2(pixels / 2)), so 4
      at 32 pixels and 6 at 224) are placed uniformly over the layers, beginning behind the first. All start with the
      alpha that leads to ``last_size`` (:func:`dynpool.baselines.initial_alpha`); each size is rounded down.
    - "autosc": the backbone keeps its strides and pools. ``adaptors`` (default two fewer: 2 at 32 pixels, 4 at 224) are
      placed uniformly behind layers of stride 1 and start at s near 0.95. Fractions of pixels are carried on.
    - "autotl": each resizer of the backbone becomes an adaptor that starts at s near 0.55; the same as
      ``dynpool.convert(model, input_size, pool=ShapeAdaptor2d)``.

    An adaptor behind a residual block, too, mixes the map with its 2x2 max-pool ("autotl": with the output of the layer
    replaced). The paper's residual form, which mixes a block's strided shortcut with its weight branch, is
    ``ShapeAdaptor2d(residual=True)`` in blocks of your own.

    Args:
        model: a sequence of convolutions or blocks (VGG, ResNet, MobileNetV2 and the like). It is not changed; weights,
            mode, dtype and device are kept.
        input_size: (C, H, W) in pixels.
        mode: "standard", "autosc" or "autotl".
        adaptors: number of adaptors; None: the paper's number. Not for "autotl".
        last_size: initial size behind the last adaptor along the shorter axis, in pixels; only for "standard".
        limit: memory-bounded training, see :class:`ShapeAdaptor2d`.
        parity: only for "autosc": compute sizes as published, by halving the fractional size at every stride of the
            backbone although its maps are rounded, and by pools that round up. By default fractions are computed from
            the actual sizes of the maps.
        align_corners: as in :func:`dynpool.baselines.shape_adaptor2d`.
        published: adaptors as in the authors' code, see :class:`ShapeAdaptor2d`, with its initial alphas
            (:func:`dynpool.baselines.initial_alpha`); "autosc" has its ``parity``, and by default two adaptors below 64
            pixels and four from there on.
        inputs, batch, dtype: what a pass needs besides an image, as in :func:`dynpool.convert`.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a bad argument, a size that the adaptors cannot reach, or a model that is not such a sequence,
            already has learned resizers or has resizers that cannot be removed.

    Example:
        >>> import dynpool
        >>> layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        >>> layers += [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(5)]
        >>> network = shape_adaptor_network(nn.Sequential(*layers), (3, 32, 32))
        >>> list(dynpool.sizes(network, (3, 32, 32)).values())
        [(32, 32), (22, 22), (15, 15), (10, 10), (7, 7)]
    """
    check_model(model)
    check_unwrapped(model, "adapt")
    size = check_input_size(input_size, 2)
    options: PassOptions = {"inputs": inputs, "batch": batch, "dtype": dtype}
    if mode not in get_args(Mode):
        raise ValueError(f"mode={mode!r}: expected 'standard', 'autosc' or 'autotl'")
    check_whole(1, last_size=last_size, **({} if adaptors is None else {"adaptors": adaptors}))
    check_limit(limit)
    check_flags(parity=parity, align_corners=align_corners, published=published)
    if parity and mode != "autosc":
        raise ValueError(f"parity=True requires mode='autosc', got mode={mode!r}")
    adaptor = partial(ShapeAdaptor2d, limit=limit, align_corners=align_corners, published=published)
    if mode == "autotl":
        if adaptors is not None:
            raise ValueError(f"adaptors={adaptors!r}: expected None with mode='autotl', which replaces every resizer")
        return convert(model, size, pool=partial(adaptor, alpha=_AUTOTL_ALPHA), **options)
    check_axes(model, 2, "shape_adaptor_network")
    if resolution_tree(model) is not None or learned_resizers(model):
        raise ValueError(
            f"model is a {type(model).__name__}, which already has learned resizers; give the original model"
        )
    builder = _Builder(model, size, adaptor, options)
    usual = int(math.log2(max(min(size[1:]), 4) / 2))
    if mode == "standard":
        network = builder.standard(usual if adaptors is None else adaptors, last_size, published)
    else:
        fewer = (2 if min(size[1:]) < 64 else 4) if published else max(usual - 2, 1)
        network = builder.compressing(fewer if adaptors is None else adaptors, parity or published)
    given = {"mode": mode, "adaptors": adaptors, "last_size": last_size, "limit": limit, "parity": parity}
    given |= {"align_corners": align_corners, "published": published}
    by = "baselines.shape_adaptor_network"
    attach_description(network, builder.tree, by, {**given, **described(builder.tree.pass_options)})
    return network


class _Builder:
    """Places adaptors in a copy of the model and builds the tree of its resolutions."""

    def __init__(
        self, model: nn.Module, size: tuple[int, ...], pool: partial[ShapeAdaptor2d], options: PassOptions
    ) -> None:
        options = prepared(options, size)
        self.graph = trace(model, size, **options)
        self.layers = find_layers(model, self.graph)
        if len(self.layers) < 2 or not any(layer.next for layer in self.layers):
            raise ValueError(
                f"model is a {type(model).__name__}, but Shape Adaptors need a sequence of convolutions or blocks"
            )
        self.model = deep_copy(model)
        self.size, self.pool = size, pool
        self.tree = ResolutionTree(size, [ResolutionNode("input", None, size[1:])])
        keep_options(self.model, self.tree, options)
        self.rows: list[ConversionRow] = []

    def standard(self, adaptors: int, last_size: int, published: bool) -> nn.Module:
        shorter = min(self.size[1:])
        if last_size >= shorter:
            raise ValueError(f"last_size={last_size}: expected fewer pixels than the input has, {shorter}")
        alpha = initial_alpha(shorter, last_size, adaptors, published=published)
        gaps = self.layers[:-1]
        chosen = [gaps[i] for i in uniform_positions(len(gaps), adaptors)]
        for resize in (r for layer in self.layers for r in layer.resizes):
            _remove(self.model, resize)
            self.add_row(resize, "removed")
        for layer in chosen:
            self.add_adaptor(layer, alpha, "local")
        return self.finish()

    def compressing(self, adaptors: int, parity: bool) -> nn.Module:
        candidates = layers_that_keep(self.layers)
        chosen = {candidates[i].path for i in uniform_positions(len(candidates), adaptors)}
        for layer in self.layers:
            opened: set[int | None] = set()
            for resize in layer.resizes:
                self.add_row(resize, "kept as designed")
                if parity:
                    _round_up(self.model.get_submodule(resize.path), resize)
                axis = resize.target[0]
                root = None if axis is None else self.graph.classes.find(axis)
                if root not in opened:
                    self.add_backbone_resizer(resize, parity)
                opened.add(root)
            if layer.path in chosen:
                self.add_adaptor(layer, _AUTOSC_ALPHA, "global")
        return self.finish()

    def add_row(self, resize: Resize, reason: str) -> None:
        """Report a resizer of the backbone that no adaptor replaces."""
        kind = f"{resize.kind} stride {resize.stride[0]}x{resize.stride[1]}"
        self.rows.append(ConversionRow(resize.path, kind, "-", "left alone", reason))

    def add_backbone_resizer(self, resize: Resize, parity: bool) -> None:
        """Add the resolution behind a resizer that the backbone keeps."""
        up = partial(_divided_up, strides=resize.stride)
        rule = Derived(up, resize.stride) if parity else Derived(resize.output)
        self.tree.nodes.append(ResolutionNode(resize.path, len(self.tree.nodes) - 1, resize.out_size, rule))

    def add_adaptor(self, layer: Layer, alpha: float, bookkeeping: Bookkeeping) -> None:
        """Add an adaptor behind the layer, which runs in a pre-hook of the next one."""
        if layer.next is None:
            raise ValueError(f"no adaptor can be placed behind {layer.path}: its output is not the only map used later")
        host = self.model.get_submodule(layer.next)
        adaptor = self.pool(alpha=alpha, bookkeeping=bookkeeping)
        parent = len(self.tree.nodes) - 1
        node = ResolutionNode(layer.path, parent, self.tree.nodes[parent].reference, Learned(resizer=adaptor))
        self.tree.nodes.append(node)
        slot = Slot(parent + 1, source=parent)
        adaptor.register_forward_pre_hook(GiveSize(slot, self.tree), with_kwargs=True)
        like = next(host.parameters(), None)
        adaptor.to(None if like is None else like.device).train(host.training)
        names = itertools.chain(["adaptor"], (f"adaptor_{number}" for number in itertools.count(1)))
        name = next(name for name in names if not hasattr(host, name))  # the layer may have an attribute of that name
        host.register_module(name, adaptor)
        host.register_forward_pre_hook(partial(_adapt_first, name=name))
        self.tree.slots[f"{layer.next}.{name}"] = slot
        self.rows.append(ConversionRow(f"{layer.next}.{name}", "shape adaptor", layer.path, "converted"))

    def finish(self) -> nn.Module:
        attach_report(self.model, ConversionReport(self.size, tuple(self.rows), tuple(self.graph.not_understood)))
        attach_tree(self.model, self.tree)
        self.check(trace(self.model, self.size))
        return self.model

    def check(self, graph: Graph) -> None:
        """Raise unless the maps in front of the adaptors have the sizes that the tree computes."""
        sizes = self.tree.sizes_at(self.size[1:])
        by_path = {resize.path: resize for resize in graph.resizes}
        for path, slot in self.tree.slots.items():
            parent = self.tree.nodes[slot.resolution].parent or 0
            if path in by_path and by_path[path].in_size != sizes[parent]:
                raise ValueError(
                    f"the map before {path} has {by_path[path].in_size} pixels, expected {sizes[parent]}: operations "
                    "other than strides change the sizes of the model"
                )


def _adapt_first(module: nn.Module, args: tuple[object, ...], *, name: str) -> tuple[object, ...]:
    """A forward pre-hook that applies the adaptor, a child of the module with the given name, to its input."""
    return (module.get_submodule(name)(args[0]), *args[1:])


def _remove(model: nn.Module, resize: Resize) -> None:
    owner, _, leaf = resize.path.rpartition(".")
    module = model.get_submodule(resize.path)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        model.get_submodule(owner).register_module(leaf, nn.Identity())
    elif isinstance(module, nn.Conv2d) and not (resize.kernel == resize.stride and max(resize.kernel) > 1):
        module.stride = (1, 1)
    else:
        raise ValueError(f"the stride of {resize.path or 'the model'} ({type(module).__name__}) cannot be removed")


def _round_up(module: nn.Module, resize: Resize) -> None:
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and resize.padding == (
        0,
        0,
    ):  # with padding it already rounds up
        module.ceil_mode = True


def _divided_up(size: Size, *, strides: Size) -> Size:
    return -(-size[0] // strides[0]), -(-size[1] // strides[1])
