"""Rows of inspected networks are those of their reports."""

import csv

import pytest

from benchmarks import inspected
from dynpool.analysis.representations import read_report
from dynpool.cli import main
from dynpool.training.loop import train
from tests.dynpool.training.runs import tiny_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    for seed in (0, 1):
        train(tiny_run(folder / f"human-seed{seed}", "--epochs=1", "--method=human", f"--seed={seed}"))
    options = ["--images", "60", "--pruning", "--amounts", ".5", "--fine-tune", "0", "--cka", "--workers", "1"]
    assert main(["inspect", str(folder), *options]) == 0
    return folder


def test_rows_of_layers_networks_pruning_and_similarity(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(inspected, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["inspected", str(folder)])
    inspected.main()
    found = {}
    for path in tmp_path.iterdir():
        with path.open(newline="") as file:
            found[path.stem.removeprefix("representations_tiny")] = list(csv.DictReader(file))
    assert set(found) == {"", "_networks", "_pruning", "_cka"}
    report = read_report(folder / "human-seed1" / "inspection" / "inspection.json")
    rows = [row for row in found[""] if row["seed"] == "1"]
    assert [row["layer"] for row in rows] == [row.name for row in report.rows]
    for row, layer in zip(rows, report.rows, strict=True):
        assert layer.probe is not None
        assert layer.saturation is not None
        assert float(row["probe"]) == pytest.approx(layer.probe.accuracy, rel=1e-5)
        assert float(row["saturation"]) == pytest.approx(layer.saturation.share, rel=1e-5)
        assert row["r_min_h"] == ("" if layer.r_min is None else f"{layer.r_min[0]:.6g}")
    network = found["_networks"][1]
    assert int(network["observed_tail"]) == len(report.tail.tail)
    assert network["solved"] == report.tail.solved
    assert [row["amount"] for row in found["_pruning"]] == ["0.5", "0.5"]
    assert [row["layer"] for row in found["_cka"]] == [row.name for row in report.rows]
