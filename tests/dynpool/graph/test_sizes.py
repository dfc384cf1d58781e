"""Sizes of classes follow from those of the input, for one input or for many at once."""

import numpy as np
import numpy.typing as npt
import pytest
from torch import nn

import dynpool
from dynpool.graph.axes import Resize
from dynpool.graph.sizes import propagate
from dynpool.graph.smooth import Smooth

Ints = npt.NDArray[np.int64]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3), nn.MaxPool2d(3, 2))


def test_many_inputs_at_once_give_what_each_gives_alone() -> None:
    graph = dynpool.trace(network(), (3, 32, 48))
    heights, widths = [32, 33, 40], [48, 21, 64]

    def output(resize: Resize, size: tuple[Ints, ...]) -> list[Ints]:
        pairs = [resize.output((int(h), int(w))) for h, w in zip(*size, strict=True)]
        return [np.array([pair[axis] for pair in pairs]) for axis in (0, 1)]

    def meet(sizes: dict[int, Ints], axis: int, size: Ints) -> None:
        sizes[axis] = size

    many = propagate(graph.axes, graph.with_input(np.array(heights), np.array(widths)), output, meet)
    for i, hw in enumerate(zip(heights, widths, strict=True)):
        alone = graph.axis_sizes(lambda resize, size: size, hw)
        assert {axis: int(sizes[i]) for axis, sizes in many.items()} == alone
    height, width = (dim.axis for dim in graph.dims(graph.nodes[-1].outputs[0])[-2:])
    assert height is not None
    assert width is not None
    assert [many[graph.classes.find(axis)].tolist() for axis in (height, width)] == [[6, 7, 8], [10, 4, 14]]


def test_sizes_without_rounding_are_proportional_to_the_input() -> None:
    graph = dynpool.trace(nn.Sequential(network(), nn.PixelUnshuffle(2)), (3, 32, 48), larger=(3, 64, 144))

    def output(resize: Resize, size: tuple[Smooth, ...]) -> list[Smooth]:
        return [n * (out / into) for n, into, out in zip(size, resize.in_size, resize.out_size, strict=True)]

    def sizes(h: float, w: float) -> dict[int, float]:
        image = graph.with_input(Smooth(h), Smooth(w))
        return {axis: n.pixels for axis, n in propagate(graph.axes, image, output, dict.setdefault).items()}

    small, large = sizes(32, 48), sizes(37, 5 * 48)
    height, width = (dim.axis for dim in graph.dims(graph.nodes[-1].outputs[0])[-2:])
    assert height is not None
    assert width is not None
    for axis, factor in ((height, 37 / 32), (width, 5)):
        root = graph.classes.find(axis)
        assert large[root] == pytest.approx(factor * small[root])
    # the two pixels that the second convolution takes away do not count
    assert small[graph.classes.find(height)] == pytest.approx(16 * (6 / 14) / 2)
