"""The observed tail and the predicted border, by their definitions."""

from typing import Any

import numpy as np
import pytest

from dynpool.analysis.representations import tail_over_runs
from dynpool.analysis.representations.tail import find_border, find_tail
from tests.analysis.representations.small import row


def rows(accuracies, shares=None):
    shares = shares or [0.5] * len(accuracies)
    return [
        row(str(i), relative=value, accuracy=value / 2, share=share)
        for i, (value, share) in enumerate(zip(accuracies, shares, strict=True))
    ]


def test_the_tail_is_what_follows_the_solution():
    found = find_tail(rows([0.5, 0.8, 0.985, 0.99, 0.995]), tolerance=0.01)
    assert (found.solved, found.tail) == ("2", ("3", "4"))
    assert find_tail(rows([0.5, 0.8, 0.985, 0.99, 0.995]), tolerance=0).solved == "4"
    assert find_tail(rows([0.5, 0.8, 0.985, 0.97, 0.995]), tolerance=0.01).tail == ("4",)[:0]
    assert find_tail(rows([0.9, 0.9])).tail == ("1",)


def test_layers_that_lose_accuracy_are_of_the_tail():
    assert find_tail(rows([0.5, 0.9, 0.99, 0.95, 0.9])).tail == ("2", "3", "4")


def test_random_accuracies_by_trying_every_layer():
    generator = np.random.default_rng(0)
    for _ in range(200):
        values = generator.integers(0, 6, size=7) / 5
        shares = generator.integers(1, 100, size=7) / 100
        found = find_tail(rows(values, list(shares)), tolerance=0.25, low=0.4)
        first = next(i for i in range(7) if all(values[j] + 0.25 >= values[6] for j in range(i, 7)))
        assert found.solved == str(first)
        low = [i for i in range(7) if all(shares[j] <= 0.4 * max(shares) for j in range(i, 7))]
        assert found.low_saturation == (str(low[0]) if low else None)


def test_layers_without_a_field_are_left_out_unless_there_are_no_others():
    convolutions, head = rows([0.5, 0.9, 0.9]), row("head", r_min_in=None, relative=1.0)
    assert find_tail([*convolutions, head]).layers == ("0", "1", "2")
    assert find_tail([*convolutions, head]).solved == "1"
    assert find_tail([head]).layers == ("head",)


def test_without_the_accuracy_of_the_model_accuracies_are_compared():
    found = find_tail([row("0", accuracy=0.5), row("1", accuracy=0.9), row("2", accuracy=0.905)])
    assert found.solved == "1"


def test_what_was_not_measured_is_none():
    found = find_tail([row("0", accuracy=None, share=None), row("1", accuracy=None, share=None)])
    assert (found.solved, found.low_saturation, found.has_saturation, found.tail) == (None, None, False, ())
    assert found.to_dict()["tail"] == []


@pytest.mark.parametrize(("name", "value"), [("tolerance", -0.1), ("low", 1.5), ("low", -1)])
def test_numbers_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        find_tail([], **{name: value})


def test_border_per_axis_and_path():
    fields = [(1, 1), (11, 13), (14, 15), (40, 40)]
    longest = [(1, 1), (12, 13), (50, 50), (60, 60)]
    found = find_border(
        [row(str(i), r_min_in=a, r_max_in=b) for i, (a, b) in enumerate(zip(fields, longest, strict=True))], (12, 16)
    )
    assert (found.r_min, found.r_min_by_axis) == ("3", ("2", "3"))
    assert (found.r_max, found.r_max_by_axis) == ("2", ("1", "2"))
    assert found.to_dict()["r_min_by_axis"] == ["2", "3"]
    assert find_border([row(r_min_in=None)], (12, 12)).r_min is None


def test_a_field_as_large_as_the_image_is_the_border():
    assert find_border([row("a", r_min_in=(11.9, 12)), row("b", r_min_in=(12, 12))], (12, 12)).r_min == "b"


def test_means_over_runs():
    line = find_border(
        [row(str(i), r_min_in=(size, size)) for i, size in enumerate((1, 5, 12, 20))], (12, 12)
    )  # layer 2
    tails = [
        find_tail(rows([0.5, 0.9, 1.0, 1.0], [0.6, 0.6, 0.1, 0.1])),  # solved at 2: three layers
        find_tail(rows([0.5, 1.0, 1.0, 1.0], [0.6, 0.6, 0.6, 0.6])),  # solved at 1: two layers
    ]
    found: Any = tail_over_runs(tails, [line, line])
    assert (found.solved.mean, found.solved.n) == (2.5, 2)
    assert found.solved.std == pytest.approx(np.std([3, 2], ddof=1))
    assert found.low_saturation.mean == (2 + 4) / 2
    assert found.border.mean == 2
    assert found.apart.mean == (-1 + 0) / 2
    assert tail_over_runs([find_tail([row("0", share=None)])], [find_border([], (1, 1))]).low_saturation is None
    for some in ([], [line]):
        with pytest.raises(ValueError, match="tails and borders"):
            tail_over_runs([] if not some else tails, some)


def test_the_first_layer_can_be_the_border():
    found = find_border([row("a", r_min_in=(4.0, 4.0)), row("b", r_min_in=(9.0, 9.0))], (4, 4))
    assert (found.r_min, found.r_min_by_axis) == ("a", ("a", "a"))
