"""Exact regions: the hull of what each position reads, padding left out."""

import math

import numpy as np

from dynpool.analysis.fields.exact_domain import ExactDomain
from dynpool.analysis.fields.positions import Field, Term
from dynpool.analysis.fields.rules.windows import sliding

SEEN = ExactDomain(1)
N = 12


def regions(field: Field, size: int) -> list[tuple[float, float]]:
    """(first, last) of every position."""
    (term,) = field.terms
    assert term.axes[0] is not None
    low, high = (np.broadcast_to(a, (1, 1, size)).ravel() for a in term.axes[0])
    return list(zip(low.tolist(), high.tolist(), strict=True))


def line() -> Term:
    (term,) = SEEN.start((1, 1, N)).terms
    return term


def test_at_first_each_position_sees_itself() -> None:
    assert regions(SEEN.start((1, 1, N)), N) == [(i, i) for i in range(N)]


def test_two_windows_see_the_hull_of_what_their_pixels_see() -> None:
    first, second = sliding(N, 6, 3, 2, 1), sliding(6, 4, 3, 1, 0)
    field = SEEN.window(SEEN.window([line()], {2: first}).terms, {2: second})
    brute = []
    for q in range(4):
        pixels = {p for i in range(q, q + 3) for p in range(2 * i - 1, 2 * i + 2) if 0 <= p < N}
        brute.append((min(pixels), max(pixels)))
    assert regions(field, 4) == brute


def test_padding_sees_nothing() -> None:
    found = regions(Field((SEEN.pad(line(), 2, N, 1, 2),)), N + 3)
    nothing = (math.inf, -math.inf)
    assert found == [nothing, *[(i, i) for i in range(N)], nothing, nothing]
    assert SEEN.settle(SEEN.place(line(), 2, np.full(3, -1), runs=True), line()) is None


def test_what_is_mixed_sees_all_and_what_accumulates_all_before() -> None:
    assert regions(Field((SEEN.mix(line(), [2]),)), 1) == [(0, N - 1)]
    assert regions(Field((SEEN.accumulate(line(), 2),)), N) == [(0, i) for i in range(N)]
    turned = SEEN.place(line(), 2, np.arange(N)[::-1], runs=True)
    assert regions(Field((SEEN.accumulate(turned, 2),)), N) == [(N - 1 - i, N - 1) for i in range(N)]
    assert regions(SEEN.global_field([line()], 3), 1) == [(0, N - 1)]


def test_joined_and_concatenated_fields_keep_what_each_position_sees() -> None:
    turned = SEEN.place(line(), 2, np.arange(N)[::-1], runs=True)
    joined = SEEN.join([line(), turned])
    assert regions(joined, N) == [(min(i, N - 1 - i), max(i, N - 1 - i)) for i in range(N)]
    both = SEEN.cat([Field((line(),)), None, Field((turned,))], 2, [N, 1, N])
    sees = [(i, i) for i in range(N)]
    assert regions(both, 2 * N + 1) == [*sees, (math.inf, -math.inf), *sees[::-1]]
