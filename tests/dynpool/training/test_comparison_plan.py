"""A dry run says what a comparison would take, and leaves nothing behind."""

import json

import pytest

from dynpool.training import checkpoint as checkpoints
from dynpool.training.comparison import compare
from dynpool.training.comparison_plan import plan_comparison
from dynpool.training.config import ComparisonConfig
from dynpool.training.config_file import load_config
from dynpool.training.errors import ConfigError
from tests.dynpool.training.runs import TINY_OPTIONS


def comparison(out, *options):
    given = ["--methods=[human,dynopool,scaled]", "--seeds=[0,1]", "--alpha_until=0.5", *options]
    grid = "--grid={scaled: {gmacs_budget: {match: dynopool}}}"
    return load_config(ComparisonConfig, None, [*TINY_OPTIONS, *given, grid, "--out", str(out)], command="compare")[0]


def test_the_plan_has_the_figures_of_the_runs(tmp_path):
    options = ["--epochs=2", "--workers=1", "--data.test_fraction=0.9", "--checkpoint_every=1"]
    config = comparison(tmp_path / "out", *options)
    seen: list[str] = []
    plan = plan_comparison(config, progress=seen.append)
    assert not (tmp_path / "out").exists()
    assert sorted(seen) == ["dynopool", "human", "scaled"]
    assert [point.group for point in plan.points] == ["human", "dynopool", "scaled"]
    assert plan.runs == 6
    compare(config)
    for point in plan.points:
        run = tmp_path / "out" / f"{point.group}-seed0"
        figures = json.loads((run / "done.json").read_text())
        assert point.parameters == figures["parameters"]
        saved = list((run / "checkpoints").glob("*.pt"))
        assert len(saved) == point.kept == 4, "after epochs 0, 1 and 2, and the last"
        size = checkpoints.last_path(run).stat().st_size
        assert point.checkpoint_bytes == pytest.approx(size, rel=0.1), "but for the rows of more epochs"
        assert point.gmacs == pytest.approx(figures["gmacs"], rel=0.6)
    human, dynopool, scaled = plan.points
    assert scaled.gmacs == pytest.approx(dynopool.gmacs, rel=0.02), "which it is to match"
    assert plan.bytes == sum(2 * 4 * point.checkpoint_bytes for point in plan.points)
    assert plan.hours == pytest.approx(sum(2 * 2 * point.seconds_per_epoch / 3600 for point in plan.points))
    text = str(plan)
    assert "6 runs: " in text
    assert "human" in text
    assert json.loads(json.dumps(plan.to_dict()))["runs"] == 6
    assert human.seconds_per_epoch > 0


def test_a_run_that_could_not_start_is_an_error_of_the_plan(tmp_path):
    with pytest.raises(ConfigError, match="cannot use model"):
        plan_comparison(comparison(tmp_path, "--conversion.max_gmacs=1e-9"))
    assert not list(tmp_path.iterdir())


def test_an_unknown_method_is_named_before_anything_is_measured(tmp_path):
    seen: list[str] = []
    config = load_config(ComparisonConfig, None, [*TINY_OPTIONS, "--methods=[human,nope]", "--out", str(tmp_path)])[0]
    with pytest.raises(ConfigError, match="methods has 'nope'"):
        plan_comparison(config, progress=seen.append)
    assert not seen
