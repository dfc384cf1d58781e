"""The search meets its criteria, compared with all choices: fewest edits, then I_min closest, then fewest MACs."""

import itertools
from collections.abc import Iterator

import pytest

from dynpool import count_macs
from dynpool.analysis import receptive_field
from dynpool.baselines import refine
from tests.baselines.nets import chain


def placed(strides: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """All results of removing strides of a chain or moving them to later layers, with their numbers of edits."""
    steps = [i for i, s in enumerate(strides) if s > 1]
    for chosen in (c for k in range(1, len(steps) + 1) for c in itertools.combinations(steps, k)):
        places = [[None, *(j for j in range(i + 1, len(strides)) if strides[j] == 1)] for i in chosen]
        for targets in itertools.product(*places):
            if len({t for t in targets if t is not None}) == sum(t is not None for t in targets):
                now = [1 if i in chosen else s for i, s in enumerate(strides)]
                for target in targets:
                    if target is not None:
                        now[target] = 2
                yield len(chosen), tuple(now)


@pytest.mark.parametrize("i_res", [14, 19, 24, 31, 40])
@pytest.mark.parametrize("strides", [(1, 2, 1, 2, 1, 1), (2, 1, 2, 2, 1, 1), (2, 2, 1, 1, 2, 1)])
def test_fewest_edits_then_i_min_closest_then_fewest_macs(strides: tuple[int, ...], i_res: int) -> None:
    size = (3, i_res, i_res)
    _, plan = refine(chain(*strides), size)
    outcomes = []
    for edits, now in placed(strides):
        i_min = receptive_field(chain(*now), size).i_min[0]
        if i_min < i_res:
            outcomes.append((edits, i_res - i_min, count_macs(chain(*now), size).gmacs))
    if receptive_field(chain(*strides), size).i_min[0] < i_res:
        assert plan.edits == ()
    else:
        assert (len(plan.edits), i_res - plan.i_min_after[0], plan.gmacs_after) == min(outcomes)
