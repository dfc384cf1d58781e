"""Relations between resolutions: ratios, sums and multiples lead to sizes, and never in a circle."""

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
        defined = {classes.find(axis) for axis in classes.derived()}
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


def test_classes_that_must_keep_a_ratio() -> None:
    classes = AxisClasses()
    a, b = classes.new(12), classes.new(12)
    half_a, half_b = (classes.scaled(x, Fraction(1, 2), 6) for x in (a, b))
    assert classes.scaled(half_a, Fraction(2), 12) == a
    classes.unite(half_a, half_b)
    assert classes.find(a) == classes.find(b)  # halves that agree are halves of equals
    classes.require_multiple(half_a, 3)
    assert classes.multiple(a) == 6
    other = classes.new(6)  # opened by a resizer of its own, which now has to follow
    classes.unite(half_a, other)
    assert classes.base(other) == (a, Fraction(1, 2))
    classes.unite(other, classes.scaled(a, Fraction(1, 3), 4))  # a half that is a third
    assert classes.pinned(a) is not None


def test_classes_of_separate_resizes_that_must_keep_a_ratio_are_told() -> None:
    classes = AxisClasses()
    a, b = classes.new(16), classes.new(8)
    classes.unite(classes.scaled(a, Fraction(1, 4), 4), classes.scaled(b, Fraction(1, 2), 4))
    assert classes.ratios() == ((a, b, Fraction(1, 2)),)
    assert classes.pinned(a) is None
    classes.unite(b, classes.scaled(a, Fraction(1, 2), 8))  # one follows from the other: nothing is left to keep
    assert classes.ratios() == ()


def test_sums_of_different_parts_that_meet_pin_every_part() -> None:
    classes = AxisClasses()
    x, y, z = classes.new(7), classes.new(3), classes.new(5)
    two = classes.sum([Dim((Atom(3),)), Dim((Atom(7, x),))])
    three = classes.sum([Dim((Atom(3, y),)), Dim((Atom(2),)), Dim((Atom(5, z),))])
    classes.unite(two, three)
    assert all("two different sums of resolutions must agree" in (classes.pinned(axis) or "") for axis in (x, y, z))


def test_a_multiple_of_what_only_the_code_knows_makes_that_a_fraction() -> None:
    """Eight blocks of a size computed in the pass make up the map: the map must divide by eight."""
    classes = AxisClasses()
    whole, block = classes.new(24), classes.new(3, free=True)
    classes.unite(whole, classes.sum([Dim((Atom(3, block),))] * 8))
    assert classes.base(block) == (whole, Fraction(1, 8))
    assert classes.multiple(whole) == 8
    assert classes.size(block, {whole: 40}) == 5


def test_parts_of_what_only_the_code_knows_tell_how_large_it_is() -> None:
    """A sixth of the map is a third of a mask: the mask is half the map."""
    classes = AxisClasses()
    whole, mask = classes.new(24), classes.new(12, free=True)
    classes.unite(classes.scaled(mask, Fraction(1, 3), 4), classes.scaled(whole, Fraction(1, 6), 4))
    assert classes.base(mask) == (whole, Fraction(1, 2))
    assert classes.pinned(whole) is None


def test_sizes_of_classes_that_follow() -> None:
    classes = AxisClasses()
    a, b = classes.new(12), classes.new(8)
    total = classes.sum([Dim((Atom(12, a),)), Dim((Atom(8, b), Atom(2)))])
    assert classes.size(total, {a: 13, b: 5}) == 23
    assert classes.size(classes.scaled(a, Fraction(1, 4), 3), {a: 20}) == 5
    assert classes.size(total, {a: 13}) is None
