"""Runs that match the cost of another wait for it, get its number, and keep it when they are resumed."""

import json
import logging

import pytest
import yaml

from dynpool.analysis.common.checksums import with_checksum
from dynpool.training.comparison import compare
from dynpool.training.config import ComparisonConfig
from dynpool.training.config_file import run_config
from dynpool.training.errors import ConfigError, TrainingError
from dynpool.training.grid_point import GridPoint
from dynpool.training.loop import train
from dynpool.training.matching import Queue, matched_groups, with_budget
from dynpool.training.methods import METHODS, Prepared

CONTROLS = """\
name: controls
methods: [human, scaled, random, resized, dynopool]
seeds: [0, 1]
model: {name: narrow-vgg, options: {widths: [4, 6, 8]}}
data: {name: digits, variant: tile, resolution: 16, test_fraction: 0.8}
epochs: 1
lr: 0.05
alpha_lr: 2
device: cpu
threads: 1
grid:
  scaled: {gmacs_budget: {match: dynopool}}
  random: {gmacs_budget: {match: scaled}}
  resized: {gmacs_budget: {match: dynopool}}
"""


FEWER = CONTROLS.replace("[human, scaled, random, resized, dynopool]", "[scaled, dynopool]").replace(
    """  random: {gmacs_budget: {match: scaled}}
  resized: {gmacs_budget: {match: dynopool}}
""",
    "",
)


def entries(config):
    return [(run_config(config, point, seed), point) for seed in config.seeds for point in config.points()]


def with_grid(read, grid, methods="human, random, scaled, dynopool", **more):
    text = f"methods: [{methods}]\nseeds: [0]\nalpha_until: 0.5\ngrid: {grid}\n" + "".join(
        f"{k}: {v}\n" for k, v in more.items()
    )
    return read(text, kind=ComparisonConfig)[0]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("{random: {gmacs_budget: {match: dynapool}}}", "matches 'dynapool', which is not in the comparison; did you"),
        ("{random: {gmacs_budget: {match: fixed}}}", "matches 'fixed', which is not in the comparison"),
        ("{random: {gmacs_budget: {match: random}}}", "random, which matches random, so none of them can run first"),
        (
            "{random: {gmacs_budget: {match: scaled}}, scaled: {gmacs_budget: {match: random}}}",
            "random, which matches scaled, which matches random, so none of them can run first",
        ),
        (
            "{random: {gmacs_budget: {match: dynopool}}, dynopool: {lr: [0.1, 0.2]}}",
            "'dynopool' has several grid points; allowed: 'dynopool lr=0.1', 'dynopool lr=0.2'",
        ),
        ("{human: {gmacs_budget: {match: dynopool}}}", "gmacs_budget of human is {'match': 'dynopool'}; allowed: null"),
        (
            "{random: {gmacs_budget: {match: dynopool, gmacs: 0.5}}}",
            "gmacs_budget of random is {'match': 'dynopool', 'gmacs': 0.5}; allowed: {match: METHOD}",
        ),
    ],
)
def test_matches_that_cannot_be_are_refused(read, grid, message):
    with pytest.raises(ConfigError) as error:
        matched_groups(entries(with_grid(read, grid)))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "value", ["{mach: dynopool}", "{match: 3}", "{match: dynopool, gmacs: -1}", "{match: a, b: c}"]
)
def test_a_match_is_written_as_one(read, value):
    with pytest.raises(ConfigError, match=r"gmacs_budget is .*; allowed: (null|a mapping)"):
        read(f"{{alpha_until: 0.5, gmacs_budget: {value}}}")


def test_a_grid_point_can_be_matched_by_its_name(read):
    config = with_grid(
        read,
        "{random: {gmacs_budget: [{match: dynopool lr=0.1}, {match: dynopool lr=0.2}]}, dynopool: {lr: [0.1, 0.2]}}",
    )
    runs = entries(config)
    assert matched_groups(runs) == {
        "random gmacs_budget=match:dynopool lr=0.1": "dynopool lr=0.1",
        "random gmacs_budget=match:dynopool lr=0.2": "dynopool lr=0.2",
    }
    assert len({run.folder for run, _ in runs}) == 6


def test_where_all_match_one_method_it_and_those_that_ignore_budgets_have_none(read):
    config, _ = read(
        "{methods: [human, random, dynopool, diffstride], alpha_until: 0.5}",
        "--gmacs_budget.match", "dynopool", kind=ComparisonConfig,
    )  # fmt: skip
    runs = {run.method: run.gmacs_budget for run, _ in entries(config)}
    match = {"match": "dynopool"}
    assert runs == {"human": None, "dynopool": None, "random": match, "diffstride": match}


def test_a_run_of_its_own_cannot_match(tiny, tmp_path):
    with pytest.raises(
        ConfigError, match=r"gmacs_budget is {'match': 'dynopool'}; allowed: a number, or null, in a run"
    ):
        train(tiny("--method", "random", "--gmacs_budget.match", "dynopool", "--out", str(tmp_path / "run")))


def test_awaited_runs_come_first_and_waiting_ones_when_those_have_ended(read):
    config, _ = read(CONTROLS, kind=ComparisonConfig)
    queue = Queue(entries(config))
    order = [run.name for run in queue.runs]
    assert set(order[:4]) == {f"{method}-seed{seed}" for method in ("scaled", "dynopool") for seed in (0, 1)}

    def started():
        found = []
        while taken := queue.take():
            found.append(taken[0][0].name)
        return found

    assert started() == ["dynopool-seed0", "dynopool-seed1", "human-seed0", "human-seed1"]
    queue.ended("dynopool-seed1")
    assert started() == ["scaled-seed1", "resized-seed1"]
    queue.ended("scaled-seed1")
    assert started() == ["random-seed1"]
    assert queue
    assert queue.failed("dynopool-seed0") == {
        "scaled-seed0": "not trained, as it was to match the cost of dynopool-seed0",
        "random-seed0": "not trained, as it was to match the cost of scaled-seed0",
        "resized-seed0": "not trained, as it was to match the cost of dynopool-seed0",
    }
    assert not queue


def figures(out, name):
    return json.loads((out / name / "done.json").read_text())


def test_a_comparison_gives_runs_the_cost_of_those_they_match(read, tmp_path, caplog):
    out = tmp_path / "out"
    config, _ = read(CONTROLS, "--out", str(out), "--workers", "1", "--seeds", "[0]", kind=ComparisonConfig)
    compare(config)
    budgets = {
        method: yaml.safe_load((out / f"{method}-seed0" / "config.yaml").read_text())["gmacs_budget"]
        for method in config.methods
    }
    learned, scaled = (figures(out, f"{method}-seed0")["gmacs"] for method in ("dynopool", "scaled"))
    assert budgets == {
        "human": None,
        "dynopool": None,
        "scaled": {"match": "dynopool", "gmacs": learned},
        "resized": {"match": "dynopool", "gmacs": learned},
        "random": {"match": "scaled", "gmacs": scaled},
    }
    assert scaled == pytest.approx(learned, rel=0.02)
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/done.json")}
    compare(config, resume=True)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/done.json")} == times
    done = out / "dynopool-seed0" / "done.json"
    moved = with_checksum({k: v for k, v in json.loads(done.read_text()).items() if k != "checksum"} | {"gmacs": 0.5})
    done.write_text(json.dumps(moved))
    run = run_config(config, GridPoint("scaled", {"gmacs_budget": {"match": "dynopool"}}), 0)
    matched = run_config(config, GridPoint("dynopool"), 0)
    with caplog.at_level(logging.WARNING):
        assert with_budget(run, matched, resume=True).budget == learned
    assert f"scaled-seed0: its budget of {learned:.6g} GMACs is what dynopool-seed0 cost" in caplog.text
    assert "that run now costs 0.5 GMACs" in caplog.text
    assert with_budget(run, matched, resume=False).budget == 0.5
    done.unlink()
    with pytest.raises(TrainingError, match=r"dynopool-seed0 has no results of a finished run"):
        with_budget(run, matched, resume=False)


def test_parallel_runs_match_too_and_those_of_a_failed_one_are_not_trained(read, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "dynopool-seed1").write_text("in the way")
    with pytest.raises(TrainingError) as error:
        compare(read(FEWER, "--out", str(out), "--workers", "2", kind=ComparisonConfig)[0])
    said = str(error.value)
    assert said.startswith("2 of the runs failed (dynopool-seed1: cannot write")
    assert "; scaled-seed1: not trained, as it was to match the cost of dynopool-seed1)" in said
    saved = yaml.safe_load((out / "scaled-seed0" / "config.yaml").read_text())["gmacs_budget"]
    assert saved == {"match": "dynopool", "gmacs": figures(out, "dynopool-seed0")["gmacs"]}
    assert figures(out, "scaled-seed0")["epochs"] == 1


def test_runs_that_match_a_failed_one_are_named_and_the_others_finished(read, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "dynopool-seed0").write_text("in the way")
    options = ["--out", str(out), "--workers", "1", "--seeds", "[0]"]
    with pytest.raises(TrainingError) as error:
        compare(read(CONTROLS, *options, kind=ComparisonConfig)[0])
    said = str(error.value)
    assert said.startswith("4 of the runs failed (dynopool-seed0: cannot write")
    assert "; scaled-seed0, resized-seed0: not trained, as it was to match the cost of dynopool-seed0" in said
    assert "; random-seed0: not trained, as it was to match the cost of scaled-seed0)" in said
    assert figures(out, "human-seed0")["epochs"] == 1


def test_a_method_of_the_users_own_can_be_matched(read, monkeypatch):
    monkeypatch.setitem(METHODS, "mine", lambda model, config, input_size: Prepared(model, []))
    config = with_grid(read, "{random: {gmacs_budget: {match: mine}}}", methods="mine, random")
    assert matched_groups(entries(config)) == {"random": "mine"}
