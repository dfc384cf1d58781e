"""Names of grid points are words without spaces, and those of their runs are names of folders."""

from dynpool.training.config import ComparisonConfig
from dynpool.training.config_file import run_config
from dynpool.training.grid_point import GridPoint


def test_lists_in_a_grid_are_named_without_spaces(read):
    text = "methods: [human]\ngrid: {human: {model.options.widths: [[4, 8], [4, 8, 16]]}}"
    comparison, _ = read(text, kind=ComparisonConfig)
    first, second = comparison.points()
    assert first.group == "human model.options.widths=[4,8]"
    assert first.name(0) == "human-model.options.widths=_4_8_-seed0"
    assert [run_config(comparison, p, 0).model.options["widths"] for p in (first, second)] == [[4, 8], [4, 8, 16]]


def test_names_of_runs_are_names_of_folders():
    point = GridPoint(
        "dynopool", {"start": "random", "lr": 0.1, "gmacs_budget": {"match": "a/b c"}}, ("gmacs_budget", "lr")
    )
    assert point.label == "gmacs_budget=match:a/b c lr=0.1"
    assert point.group == "dynopool gmacs_budget=match:a/b c lr=0.1"
    assert point.name(3) == "dynopool-gmacs_budget=match_a_b_c-lr=0.1-seed3"
    assert GridPoint("human").group == "human"
    assert GridPoint("human").label == ""
