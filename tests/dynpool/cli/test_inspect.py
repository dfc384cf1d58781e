"""dynpool inspect: figures kept in the runs' folders, a page for all of them, one-line errors."""

import json

import pytest

from dynpool.cli import main
from dynpool.training.loop import train
from tests.dynpool.training.runs import tiny_run


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "both"
    for method in ("human", "dynopool"):
        train(tiny_run(folder / f"{method}-seed0", f"--method={method}", "--epochs=1"))
    return folder


def test_runs_are_inspected_and_kept(comparison, capsys):
    assert main(["inspect", str(comparison)]) == 0
    out = capsys.readouterr().out
    assert "human, seed 0\n  " in out
    assert "dynopool, seed 0\n  " in out
    assert f"page: {comparison / 'inspection' / 'inspection.html'}" in out
    kept = comparison / "dynopool-seed0" / "inspection"
    assert {"inspection.json", "inspection.csv", "made_from.json"} <= {path.name for path in kept.iterdir()}
    before = (kept / "inspection.json").read_bytes()

    assert main(["inspect", str(comparison)]) == 0  # nothing is measured again
    assert "dynopool, seed 0 (kept from before)" in capsys.readouterr().out
    assert (kept / "inspection.json").read_bytes() == before

    (kept / "inspection.json").write_bytes(before[: len(before) // 2])  # a damaged one is measured again
    assert main(["inspect", str(comparison)]) == 0
    out = capsys.readouterr().out
    assert "human, seed 0 (kept from before)" in out
    assert "dynopool, seed 0 (kept" not in out
    assert (kept / "inspection.json").read_bytes() == before


def test_parts_are_measured_on_request(comparison, tmp_path, capsys):
    run = comparison / "human-seed0"
    options = ["--saturation", "--images", "40", "--layers", "0", "4", "--out", str(tmp_path / "page")]
    assert main(["inspect", str(run), *options]) == 0
    rows = json.loads((run / "inspection" / "inspection.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["0", "4"]
    assert all(row["probe_accuracy"] is None and row["saturation"] > 0 for row in rows)
    assert (tmp_path / "page" / "inspection.html").exists()
    assert "40 held-out images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layers", "5x"], "has no layer '5x'"),
        (["--images", "0"], "--images: '0'; allowed: a whole number above 0"),
        (["--images", "3"], "3 images for 7 classes"),
        (["--tolerance", "1"], "--tolerance: '1'; allowed: a number above 0 and below 1"),
        (["--heatmap", "0"], "unknown option '--heatmap'; did you mean '--heatmaps'?"),
    ],
)
def test_wrong_options_are_one_line(options, said, comparison, capsys):
    assert main(["inspect", str(comparison / "human-seed0"), *options]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1
    assert said in err[0]


def test_what_is_no_run_is_named(tmp_path, comparison, capsys):
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert "no such run folder" in capsys.readouterr().err
    for path in (comparison / "human-seed0" / "checkpoints").iterdir():
        path.rename(path.with_suffix(".gone"))
    try:
        assert main(["inspect", str(comparison / "human-seed0")]) == 2
        assert "has no checkpoint yet" in capsys.readouterr().err
    finally:
        for path in (comparison / "human-seed0" / "checkpoints").iterdir():
            path.rename(path.with_suffix(".pt"))
