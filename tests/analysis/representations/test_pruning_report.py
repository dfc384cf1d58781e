"""The report as text, plain data and files."""

import csv
import json

from dynpool.analysis.representations import PruningReport, PruningRow


def report(*, tuned=True, notices=()):
    rows = (
        PruningRow(0.5, 500, 1000, {"conv": 0.25, "fc": 0.75}, 0.9, 0.95 if tuned else None),
        PruningRow(0.9, 100, 1000, {"conv": 0.85, "fc": 1.0}, 0.1, 0.8 if tuned else None),
    )
    return PruningReport("Net", 0.96, rows, notices)


def test_text():
    lines = str(report(notices=("'fc' is empty",))).splitlines()
    assert lines[0].split() == "amount kept score fine-tuned least pruned layer most pruned layer".split()
    assert lines[1].split() == ["0", "1000", "0.96"]
    assert lines[2].split() == "0.5 500 0.9 0.95 conv 25.0 % fc 75.0 %".split()
    assert lines[3].split() == "0.9 100 0.1 0.8 conv 85.0 % fc 100.0 %".split()
    assert lines[-1] == "note: 'fc' is empty"
    assert str(report(tuned=False)).splitlines()[2].split()[3] == "-"


def test_files(tmp_path):
    paths = report(tuned=False).write(tmp_path)
    data = json.loads(paths[0].read_text())
    assert (data["dense"], data["rows"][1]["sparsity"], data["rows"][0]["score_after"]) == (
        0.96, {"conv": 0.85, "fc": 1.0}, None,
    )  # fmt: skip
    with paths[1].open(newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["amount", "kept", "weights", "score", "score_after", "conv", "fc"]
    assert table[2] == ["0.9", "100", "1000", "0.1", "", "0.85", "1.0"]
    assert [path.name for path in paths] == ["pruning.json", "pruning.csv", "pruning.png"]
