"""Colours can be told apart, and texts on them can be read."""

from itertools import combinations

from dynpool.analysis.common.colors import DYNOPOOL, FILLS, HUMAN, OTHERS, TEXTS


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_texts_on_layers_have_the_contrast_that_wcag_asks_of_normal_text():
    assert all(contrast(FILLS[mark], TEXTS[mark]) >= 4.5 for mark in FILLS)


def test_layers_differ_in_brightness_too():
    assert all(contrast(a, b) > 1.5 for a, b in combinations(FILLS.values(), 2))


def test_no_two_methods_share_a_colour():
    assert len({HUMAN, DYNOPOOL, *OTHERS}) == 2 + len(OTHERS)
