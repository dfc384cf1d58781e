"""Runs are inspected on their own images; what was made from the same checkpoint with the same options is kept."""

import json
from dataclasses import replace

import pytest

from dynpool.analysis.representations import read_report
from dynpool.training.data import load_data
from dynpool.training.errors import ConfigError, RunFolderError
from dynpool.training.inspection import InspectionOptions, inspect_run
from dynpool.training.loop import train
from tests.dynpool.training.runs import tiny_run

FAST = InspectionOptions(probes=False, images=50)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = tiny_run(tmp_path_factory.mktemp("runs") / "run", "--epochs=1", "--channels_last=true")
    figures = train(config)
    return config, figures


def test_it_is_the_trained_network_on_the_images_of_the_run(run, tmp_path):
    config, figures = run
    report, kept = inspect_run(config.folder, InspectionOptions(saturation=False, iterations=20), tmp_path)
    dataset = load_data(config.data)
    assert not kept
    assert (report.train_images, report.test_images) == (len(dataset.train), len(dataset.test))
    assert report.accuracy == pytest.approx(figures["test_accuracy"], abs=1e-6)
    assert read_report(tmp_path / "inspection.json") == report


def test_it_is_kept_until_options_or_checkpoint_change(run, tmp_path):
    config, _ = run
    first, _ = inspect_run(config.folder, FAST, tmp_path)
    assert first.test_images == first.train_images == 50
    assert inspect_run(config.folder, FAST, tmp_path) == (first, True)
    other, kept = inspect_run(config.folder, replace(FAST, layers=("0",)), tmp_path)
    assert not kept
    assert [row.name for row in other.rows] == ["0"]
    made_from = tmp_path / "made_from.json"
    made_from.write_text(json.dumps(json.loads(made_from.read_text()) | {"checkpoint": "of before"}))
    assert inspect_run(config.folder, replace(FAST, layers=("0",)), tmp_path) == (other, False)


def test_errors_name_the_run(run, tmp_path):
    config, _ = run
    with pytest.raises(ConfigError, match=r"run: layers.*'99'"):
        inspect_run(config.folder, replace(FAST, layers=("99",)), tmp_path)
    assert not list(tmp_path.iterdir())
    begun = tiny_run(tmp_path / "begun")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text((config.folder / "config.yaml").read_text())
    with pytest.raises(RunFolderError, match="has no checkpoint yet"):
        inspect_run(begun.folder, FAST, tmp_path / "out")
