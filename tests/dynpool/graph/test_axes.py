"""Relations between resolutions never lead in a circle, whatever becomes one with whatever."""

import random
from fractions import Fraction

import pytest

from dynpool.graph.axes import AxisClasses
from dynpool.graph.dims import Atom, Dim

RATIOS = (Fraction(1, 2), Fraction(1, 3), Fraction(2), Fraction(3, 2))


def dim(classes: AxisClasses, axis: int) -> Dim:
    return Dim((Atom(classes.reference(axis), axis),))


def related(seed: int) -> tuple[AxisClasses, list[int]]:
    """A few classes, united, scaled, added and pinned at random."""
    draw, classes = random.Random(seed), AxisClasses()
    axes = [classes.new(draw.choice((12, 24, 36, 48)), free=draw.random() < 0.3) for _ in range(4)]
    for _ in range(draw.randint(3, 14)):
        a, b, kind = draw.choice(axes), draw.choice(axes), draw.random()
        if kind < 0.4:
            classes.unite(a, b)
        elif kind < 0.75:
            ratio = draw.choice(RATIOS)
            axes.append(classes.scaled(a, ratio, int(classes.reference(a) * ratio), up=draw.random() < 0.3))
        elif kind < 0.95:
            axes.append(classes.sum([dim(classes, a), dim(classes, b)]))
        else:
            classes.pin(a, "for the test")
    return classes, axes


@pytest.mark.timeout(60)
def test_every_size_follows_from_those_that_follow_from_none() -> None:
    for seed in range(1500):
        classes, axes = related(seed)
        defined = {classes.find(axis) for axis in classes.defined()}
        sizes = dict.fromkeys({classes.find(axis) for axis in axes} - defined, 24)
        for axis in axes:
            assert classes.base(axis)[0] not in classes._scaled
            assert classes.size(axis, {}) is None or classes.find(axis) in sizes
            assert classes.size(axis, sizes) is not None, seed


@pytest.mark.parametrize("way", ["half of itself", "by way of a sum", "by way of another"])
def test_what_would_follow_from_itself_keeps_its_size(way: str) -> None:
    classes = AxisClasses()
    a = classes.new(24)
    half = classes.scaled(a, Fraction(1, 2), 12)
    last = {
        "half of itself": lambda: half,
        "by way of a sum": lambda: classes.sum([dim(classes, half), dim(classes, classes.new(12))]),
        "by way of another": lambda: classes.scaled(classes.sum([dim(classes, half), dim(classes, a)]), RATIOS[1], 12),
    }[way]()
    classes.unite(a, last)
    assert classes.pinned(a) is not None
    assert classes.size(a, {classes.find(a): 24}) == 24
    assert classes.base(half)[0] == classes.find(classes.base(half)[0])
