"""The runs of a comparison: what they share, in what they differ, and grids of values; wrong ones are refused."""

import dataclasses
from pathlib import Path

import pytest

from dynpool.training.config import ComparisonConfig, RunConfig
from dynpool.training.config_file import run_config, run_configs
from dynpool.training.errors import ConfigError
from dynpool.training.grid_point import GridPoint


def test_runs_of_a_comparison_differ_in_method_seed_name_and_folder_only(read):
    comparison, _ = read("out: here\nalpha_lr: 0.5\nepochs: 7", kind=ComparisonConfig)
    run = run_config(comparison, GridPoint("human"), 3)
    assert type(run) is RunConfig
    assert (run.name, run.method, run.seed, run.folder) == ("human-seed3", "human", 3, Path("here/human-seed3"))
    expected = {f.name: getattr(comparison, f.name) for f in dataclasses.fields(RunConfig)}
    same = expected.keys() - {"name", "method", "seed", "out"}
    assert {k: getattr(run, k) for k in same} == {k: expected[k] for k in same}


GRID = """
out: here
methods: [human, dynopool]
model: {options: {widths: [4, 8]}}
grid:
  human: {data.resolution: [16, 24], lr: 0.05}
  dynopool: {gmacs_weight: [0, 0.5], alpha_lr: [0.1, 0.2], model.options.pool: 3}
"""


def test_a_grid_trains_each_combination_of_its_lists(read):
    comparison, _ = read(GRID, kind=ComparisonConfig)
    runs = [run_config(comparison, point, 1) for point in comparison.points()]
    assert [run.name for run in runs] == [
        "human-data.resolution=16-seed1",
        "human-data.resolution=24-seed1",
        "dynopool-gmacs_weight=0-alpha_lr=0.1-seed1",
        "dynopool-gmacs_weight=0-alpha_lr=0.2-seed1",
        "dynopool-gmacs_weight=0.5-alpha_lr=0.1-seed1",
        "dynopool-gmacs_weight=0.5-alpha_lr=0.2-seed1",
    ]
    assert [run.data.resolution for run in runs] == [16, 24] + [32] * 4
    assert [run.lr for run in runs] == [0.05] * 2 + [0.1] * 4
    assert [(run.gmacs_weight, run.alpha_lr) for run in runs[2:]] == [(0, 0.1), (0, 0.2), (0.5, 0.1), (0.5, 0.2)]
    assert [run.grid_point for run in runs[1:3]] == ["data.resolution=24", "gmacs_weight=0 alpha_lr=0.1"]
    assert runs[0].model.options == {"widths": [4, 8]}
    assert runs[2].model.options == {"widths": [4, 8], "pool": 3}
    assert len({run.folder for run in runs}) == 6


def test_pairs_are_of_methods_or_of_their_grid_points(read):
    pairs = "[[dynopool, human data.resolution=16], [human data.resolution=24, dynopool]]"
    text = f"methods: [human, dynopool]\ngrid: {{human: {{data.resolution: [16, 24]}}}}\npairs: {pairs}"
    comparison, _ = read(text, kind=ComparisonConfig)
    assert comparison.pairs == (("dynopool", "human data.resolution=16"), ("human data.resolution=24", "dynopool"))
    with pytest.raises(
        ConfigError, match=r"pairs is \['dynopool', 'human'\]; allowed: two of human data.resolution=16, "
    ):
        read(text.replace("human data.resolution=16],", "human],"), kind=ComparisonConfig)
    with pytest.raises(
        ConfigError, match=r"pairs is .*; allowed: null or all or a list of pairs, such as \[\[a, b\], \[a, c\]\]"
    ):
        read("pairs: [human, dynopool]", kind=ComparisonConfig)


def test_pairs_may_be_each_against_each(read):
    comparison, _ = read(
        "methods: [human, dynopool]\ngrid: {human: {data.resolution: [16, 24]}}\npairs: all", kind=ComparisonConfig
    )
    small, large = "human data.resolution=16", "human data.resolution=24"
    assert comparison.tested_pairs == ((large, small), ("dynopool", small), ("dynopool", large))
    assert read("pairs: [[dynopool, human]]", kind=ComparisonConfig)[0].tested_pairs == (("dynopool", "human"),)
    assert read("epochs: 3", kind=ComparisonConfig)[0].tested_pairs is None
    with pytest.raises(ConfigError, match="pairs is 'all'; allowed: null, as there is only one group of runs"):
        read("methods: [human]\npairs: all", kind=ComparisonConfig)


def test_all_runs_are_those_of_each_point_and_seed(read):
    comparison, _ = read(GRID, kind=ComparisonConfig)
    single = [(run_config(comparison, p, seed), p) for seed in comparison.seeds for p in comparison.points()]
    assert run_configs(comparison) == single
    assert len(single) > 3


@pytest.mark.parametrize(
    ("key", "value"),
    [("executor", "slurm"), ("gpus_per_run", -1.0), ("retries", -1), ("address", "a:1"), ("storage", "s3://a")],
)
def test_where_runs_are_trained_is_checked(read, key, value):
    with pytest.raises(ConfigError, match=f"{key} is '?{value}'?; allowed: "):
        read(f"{key}: {value}", kind=ComparisonConfig)


@pytest.mark.parametrize("key", ["address", "storage"])
def test_an_empty_place_of_a_cluster_or_a_copy_is_refused(read, key):
    with pytest.raises(ConfigError, match=f"{key} is ''; allowed: null, or not empty"):
        read("epochs: 2", "--executor=ray", f"--{key}=", kind=ComparisonConfig)


def test_options_may_have_hyphens_and_do_not_belong_to_the_runs(read):
    options = ["--executor=ray", "--gpus-per-run", "0.5", "--address=a:1"]
    comparison, _ = read("epochs: 2", *options, kind=ComparisonConfig)
    assert (comparison.executor, comparison.gpus_per_run, comparison.address) == ("ray", 0.5, "a:1")
    local, _ = read("epochs: 2", kind=ComparisonConfig)
    assert run_configs(comparison) == run_configs(local)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            "{dynopol: {lr: 1}}",
            "grid is 'dynopol'; allowed: the methods compared: human, dynopool (did you mean 'dynopool'?)",
        ),
        ("{qq: {lr: 1}}", "grid is 'qq'; allowed: the methods compared: human, dynopool"),
        ("{human: {rl: 1}}", "grid.human: unknown key 'rl'; did you mean 'lr'"),
        ("{human: {seed: 1}}", "grid.human: unknown key 'seed'"),
        ("{human: {lr: [0.1, much]}}", "grid.human: lr is 'much'; allowed: a number"),
        ("{human: {lr: []}}", "grid.human.lr is []; allowed: a value, or a list of one or more"),
        ("{dynopool: {gmacs_budget: 1}}", "grid.dynopool: alpha_until is 1.0; allowed: a number below 1"),
        ("{human: 3}", "allowed: methods, each with keys and lists"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_runs(read, grid, message):
    with pytest.raises(ConfigError) as error:
        read(f"grid: {grid}", kind=ComparisonConfig)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "methods: [human, resized]\ndata: {name: pulses, resolution: 64}",
            "methods has 'resized': method is 'resized'; allowed: human, fixed",
        ),
        ("compile: true", "methods has 'dynopool': compile is True; allowed: false, unless alpha_until is below 1"),
    ],
)
def test_a_method_that_does_not_go_with_the_keys_of_all_is_named_without_a_grid(read, text, message):
    with pytest.raises(ConfigError) as error:
        read(text, kind=ComparisonConfig)
    assert message in str(error.value)
    assert "grid" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "methods: []",
        "methods: [human, human]",
        "seeds: [1, 1]",
        "seeds: [-1]",
        "workers: 0",
        "equivalence_margin: 0",
        "pairs: []",
        "pairs: [[human, human]]",
        "pairs: [[human, random]]",
        "pairs: [[human, dynopool], [human, dynopool]]",
    ],
)
def test_bad_comparisons(read, text):
    with pytest.raises(ConfigError, match=text.split(":")[0] + r" is (\[|0)"):  # as it is written, not as a tuple
        read(text, kind=ComparisonConfig)
