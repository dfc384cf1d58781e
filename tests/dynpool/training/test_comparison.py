"""A comparison opens its folder, and has no more workers than runs; tests/dynpool/cli has whole ones."""

from dynpool.analysis.comparison.settings import find_settings
from dynpool.training.comparison import _open, default_workers
from dynpool.training.config import ComparisonConfig


def test_a_comparison_has_no_more_workers_than_runs():
    config = ComparisonConfig(methods=("human",), seeds=(0,), device="cpu", threads=1)
    assert default_workers(config) == 1
    assert default_workers(ComparisonConfig(workers=5)) == 5


def test_a_comparison_of_each_against_each_writes_its_pairs_for_the_report(tmp_path):
    config = ComparisonConfig(methods=("human", "fixed", "dynopool"), pairs="all", out=str(tmp_path))
    _open(config, [], resume=False, overwrite=False)
    expected = (("fixed", "human"), ("dynopool", "human"), ("dynopool", "fixed"))
    assert find_settings([tmp_path / "human-seed0"]).pairs == expected
    _open(config, [], resume=True, overwrite=False)
