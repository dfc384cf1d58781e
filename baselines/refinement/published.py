"""The edits that Richter and Pal made by hand, by name of the architecture.

Layers are identified by their function, not by their names, so an edit fits the networks of any library.

Reference: Richter and Pal, "Receptive Field Refinement for Convolutional Neural Networks Reliably Improves Predictive
Performance", Tables 2, 4 and 5 and Appendices D and E.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from dynpool.analysis.fields import StrideProgram, compile_fields
from dynpool.graph import Graph, Resize, trace
from dynpool.size_math import PerAxis, Size

from .layer_changes import LayerChange
from .less_downsampling import uncollapsed
from .placements import Cut, find_placements
from .plan import Edit, apply_edits, check_i_min
from .shorter_wider import find_blocks, removal
from .widths import Widths

__all__ = ["PublishedEdit", "published_edits"]


@dataclass(frozen=True)
class PublishedEdit:
    """An edit of the paper, with its printed I_min and a function that finds its layers in a model.

    Attributes:
        name: the name for `refine(..., edits=name)`.
        what: a description of the edit.
        i_min_before, i_min_after: the printed numbers, in pixels, the same along height and width.
        make: (model, its trace with `every_window=True`) -> the edits for that model, which is not changed. Raises
            ValueError if the model has another architecture.
        remark: a note if the printed number follows another rule than I_min or could not be derived.
        own_i_min: I_min of the network before the edit by Eq. 7, if another number is printed.
    """

    name: str
    what: str
    i_min_before: int
    i_min_after: int
    make: Callable[[nn.Module, Graph], tuple[Edit, ...]]
    remark: str = ""
    own_i_min: int | None = None

    def edits_of(self, model: nn.Module, graph: Graph, i_min: PerAxis) -> tuple[Edit, ...]:
        """The edits of a model.

        Args:
            model: the network, which is not changed.
            graph: its trace with every window.
            i_min: its I_min before, which tells networks with as many downsamplings apart.

        Raises:
            ValueError: the model is another network than the edit's.
        """
        expected = self.own_i_min or self.i_min_before
        try:
            edits = self.make(model, graph)
        except IndexError:
            raise ValueError("a layer that the edit changes is missing") from None
        check_i_min((expected, expected), i_min)
        return edits


def published_edits() -> Mapping[str, PublishedEdit]:
    """All published edits by name."""
    return _PUBLISHED


# --- finding layers ---------------------------------------------------------------------------------------------------


class _Layers:
    """The downsampling steps of a model, the targets that they could move to, and its convolutions, in order."""

    def __init__(self, model: nn.Module, graph: Graph, steps: int) -> None:
        self.graph = uncollapsed(model, graph)
        self.program = StrideProgram(self.graph, compile_fields(self.graph), graph.input_size[1:])
        placements = find_placements(model, self.program)
        self.steps, self.targets = placements.steps, placements.targets
        if len(self.steps) != steps:
            raise ValueError(
                f"the edit is for networks with {steps} downsamplings that can be moved, but this one has "
                f"{len(self.steps)}"
            )

    def windows(self, cut: Cut) -> list[Resize]:
        return [self.program.windows[row] for row in cut.rows]

    def removed(self, number: int) -> Edit:
        return Edit("removed", tuple(_stride(w, (1, 1)) for w in self.windows(self.steps[number])))

    def moved(self, number: int, target: Resize) -> Edit:
        return Edit("moved", (*self.removed(number).changes, _stride(target, self.steps[number].factor)))

    def convolutions(self, *, depthwise: bool = False) -> list[Resize]:
        """Convolutions with a kernel larger than one pixel, or only the depthwise ones among them."""
        found = [w for w in self.program.windows if w.kind == "convolution" and max(w.kernel) > 1]
        return [w for w in found if not depthwise or self.graph.nodes[w.node].arguments["groups"] > 1]


def _stride(window: Resize, after: Size) -> LayerChange:
    return LayerChange(window.path, "stride", window.stride, after)


def _window(window: Resize, after: tuple[int, ...]) -> LayerChange:
    return LayerChange(window.path, "window", (*window.kernel, *window.stride, *window.padding), after)


# --- the edits --------------------------------------------------------------------------------------------------------


def _last_removed(steps: int) -> Callable[[nn.Module, Graph], tuple[Edit, ...]]:
    return lambda model, graph: (_Layers(model, graph, steps).removed(-1),)


def _nth_removed(steps: int, number: int) -> Callable[[nn.Module, Graph], tuple[Edit, ...]]:
    return lambda model, graph: (_Layers(model, graph, steps).removed(number),)


def _vgg19(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    """Pools behind convolutions 4, 7, 10, 13 and 16 instead of 2, 4, 8, 12 and 16."""
    layers = _Layers(model, graph, 5)
    return tuple(
        Edit("moved", (*layers.removed(number).changes, _pool_behind(layers.graph, layers.convolutions()[behind - 1])))
        for number, behind in ((0, 7), (2, 10), (3, 13))
    )


def _pool_behind(graph: Graph, convolution: Resize) -> LayerChange:
    """A 2x2 max-pool behind the activation that follows a convolution."""
    relu = next((n for n in graph.nodes[convolution.node :] if n.op in ("aten.relu", "aten.relu_")), None)
    if relu is None:
        raise ValueError(f"the edit puts a pool after the ReLU that follows {convolution.path}, but no ReLU follows it")
    return LayerChange(relu.path, "max_pool", (0,), (2,))


def _mobilenet_v1(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    """Strides in layers 1, 3, 5 and 11 of the stem and 13 depthwise layers, instead of 1, 3, 5, 7 and 13."""
    layers = _Layers(model, graph, 5)
    return (layers.moved(3, layers.convolutions(depthwise=True)[9]), layers.removed(4))


def _convnext(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    layers = _Layers(model, graph, 4)
    (stem,) = layers.windows(layers.steps[0])
    return (Edit("narrower patches", (_window(stem, (2, 2, 2, 2, 0, 0)),)),)


def _efficientnet(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    """Strides at the stem and stages 2, 3 and 5, none at 4 and 6, which give the paper's I_min and GMACs."""
    layers = _Layers(model, graph, 5)
    between = [
        c
        for c in layers.targets
        if layers.steps[4].downstream < c.downstream < layers.steps[3].downstream and len(c.rows) == 1
    ]
    if len(between) != 1:
        raise ValueError("the edit is for an EfficientNet, whose fifth stage begins with a block without a shortcut")
    return (layers.moved(3, layers.windows(between[0])[0]), layers.removed(4))


def _efficientnet_b0_shorter_wider(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    """Stage 7 and all but the first block of stage 6 removed, stages 5 and 6 widened to 165 and 320 channels."""
    edits: list[Edit] = []
    now = model
    for _ in range(4):  # stage 7, then blocks 4, 3 and 2 of stage 6
        edit = removal(now, graph, find_blocks(now, graph)[-1])
        if isinstance(edit, str):
            raise ValueError(f"the edit is for EfficientNet-B0: {edit}")
        edits.append(edit)
        now = apply_edits(now, [edit])
        graph = trace(now, graph.input_size, inputs=graph.example)
    widths, blocks = Widths(now, graph), find_blocks(now, graph)
    number = widths.class_of(blocks[-1].source)
    if number is None or widths.classes[number].width != 112:
        raise ValueError("the edit is for EfficientNet-B0, whose fifth stage has 112 output channels")
    wider = {number: 165}
    for node in graph.nodes:  # six times as many channels inside the following blocks, a quarter in their gates
        here = widths.class_of(node.outputs[0]) if node.outputs else None
        inner = None if here is None else {672: 6 * 165, 28: 165 // 4}.get(widths.classes[here].width)
        if here is not None and inner is not None and any(node.index in block.nodes for block in blocks[-3:]):
            wider[here] = inner
    return (*edits, Edit("widened", widths.changes(wider)))


def _resnet50_cifar(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    """A 3x3 stem without pool; the only remaining stride is in the first bottleneck with 1024 output channels."""
    layers = _Layers(model, graph, 5)
    (stem,), (pool,) = layers.windows(layers.steps[0]), layers.windows(layers.steps[1])
    return (
        Edit("smaller stem", (_window(stem, (3, 3, 1, 1, 1, 1)),)),
        Edit("removed", (LayerChange(pool.path, "kept", (1,), (0,)),)),
        layers.removed(2),
        layers.removed(4),
    )


def _vgg16_cifar(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    """One max-pool, in front of the last three convolutions."""
    layers = _Layers(model, graph, 5)
    last = layers.convolutions()[:13][-3].node
    kept = max(i for i, step in enumerate(layers.steps) if layers.windows(step)[0].node < last)
    return tuple(layers.removed(i) for i in range(5) if i != kept)


def _mobilenet_v2_cifar(model: nn.Module, graph: Graph) -> tuple[Edit, ...]:
    layers = _Layers(model, graph, 5)
    return tuple(layers.removed(i) for i in range(4))


_BY_R_IN = "computed by another rule: the largest of r_min before a layer and kernel times effective stride behind it"

_PUBLISHED: Mapping[str, PublishedEdit] = MappingProxyType(
    {
        edit.name: edit
        for edit in (
            PublishedEdit("vgg19", "max-pools behind convolutions 4, 7, 10, 13 and 16", 268, 220, _vgg19),
            PublishedEdit("mobilenet_v1", "downsampling in layers 1, 3, 5 and 11", 315, 219, _mobilenet_v1),
            PublishedEdit(
                "mobilenet_v3_small", "the third downsampling after the stem removed", 303, 175, _nth_removed(5, 3)
            ),
            PublishedEdit("mobilenet_v3_large", "the last downsampling removed", 263, 199, _last_removed(5)),
            PublishedEdit("mnasnet", "the last downsampling removed", 283, 219, _last_removed(5)),
            PublishedEdit("nasnet_a_mobile", "the stem's downsampling removed", 327, 165, _nth_removed(6, 0)),
            PublishedEdit("convnext", "patches of 2x2 instead of 4x4 pixels", 224, 112, _convnext),
            PublishedEdit(
                "efficientnet",
                "stage 5 downsamples instead of stage 4, stage 6 no longer does",
                299,
                203,
                _efficientnet,
                "GMACs come out within 6 % for B1 to B5; those printed for B0 (1.78) exceed those of B1 (1.67)",
            ),
            PublishedEdit(
                "efficientnet_b0_shorter_wider",
                "stage 7 and blocks 2 to 4 of stage 6 removed, stages 5 and 6 widened to 165 and 320 channels",
                299,
                171,
                _efficientnet_b0_shorter_wider,
                "the printed 0.72 GMACs and 5.5 M weights do not follow from these widths, which give 0.39 and 3.6 M",
            ),
            PublishedEdit(
                "resnet50_cifar", "a 3x3 stem; only stage 3 downsamples", 96, 6, _resnet50_cifar, _BY_R_IN, own_i_min=75
            ),
            PublishedEdit(
                "vgg16_cifar", "one max-pool, in front of the last three convolutions", 212, 30, _vgg16_cifar, _BY_R_IN
            ),
            PublishedEdit(
                "mobilenet_v2_cifar",
                "only the last downsampling kept",
                163,
                29,
                _mobilenet_v2_cifar,
                "the printed number could not be derived",
            ),
        )
    }
)
