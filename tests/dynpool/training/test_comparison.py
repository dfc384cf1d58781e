"""A comparison opens its folder, and has no more workers than runs; tests/dynpool/cli has whole ones."""

import pytest

from dynpool.analysis.comparison.settings import find_settings
from dynpool.training import comparison
from dynpool.training.comparison import _check, _write, compare, default_workers
from dynpool.training.config import ComparisonConfig
from dynpool.training.errors import ConfigError
from dynpool.training.executors.in_process import InProcess
from dynpool.training.stop import Stop


def test_a_comparison_has_no_more_workers_than_runs():
    config = ComparisonConfig(methods=("human",), seeds=(0,), device="cpu", threads=1)
    assert default_workers(config) == 1
    assert default_workers(ComparisonConfig(workers=5)) == 5


def test_a_comparison_of_each_against_each_writes_its_pairs_for_the_report(tmp_path):
    config = ComparisonConfig(methods=("human", "fixed", "dynopool"), pairs="all", out=str(tmp_path))
    _write(config, InProcess(Stop(), resume=False, overwrite=False))
    expected = (("fixed", "human"), ("dynopool", "human"), ("dynopool", "fixed"))
    assert find_settings([tmp_path / "human-seed0"]).pairs == expected
    _check(config, [], resume=True, overwrite=False)


def test_a_refused_comparison_leaves_its_folder_free(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise ConfigError("address is '127.0.0.1:1': no Ray cluster there")

    monkeypatch.setattr(comparison, "_executor", refused)
    config = ComparisonConfig(methods=("human",), seeds=(0,), device="cpu", out=str(tmp_path))
    for _ in range(2):
        with pytest.raises(ConfigError, match="no Ray cluster"):
            compare(config, quiet=True)


def test_an_optimiser_of_a_grid_is_checked_before_any_run(tmp_path):
    grid = {"fixed": {"optimizer.name": ["sgd", "adamww"]}}
    config = ComparisonConfig(methods=("human", "fixed"), seeds=(0,), device="cpu", grid=grid, out=str(tmp_path / "c"))
    with pytest.raises(
        ConfigError, match=r"optimizer.name is 'adamww', which timm does not know; did you mean 'adamw'"
    ):
        compare(config, quiet=True)
    assert not (tmp_path / "c").exists()
