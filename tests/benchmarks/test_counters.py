"""The count by hand is right where sums can be written down, and `count_macs` agrees with it."""

import csv
import re
from pathlib import Path

import pytest
import torch

from benchmarks.counters import MODELS, RESULTS, hand_count, table
from dynpool import count_macs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "functional",
            64 * 64 * 32 * 27  # first
            + 32 * 32 * 64 * 16 * 9  # second, in two groups
            + 32 * 32 * 64 * 32 * 4  # up: each input meets 2x2 weights for each of 32 channels
            + 64 * 64 * 32 * 48  # einsum
            + 2 * 256 * 256 * 48  # both products of 256 tokens
            + 48 * 10,
        ),
        (
            "reader",
            16 * 128 * 64 * 9
            + 128 * 2 * 4 * 128 * (1024 + 128)  # 128 steps, two directions, four gates
            + 128 * 2 * 4 * 128 * (256 + 128)
            + 128 * 256 * 80,
        ),
    ],
)
def test_the_count_by_hand(name: str, expected: int) -> None:
    build, size = MODELS[name]
    model = build().eval()
    assert hand_count(model, torch.zeros(1, *size)) == expected == count_macs(model, size).total


def test_the_page_has_the_table_of_the_results_and_dynpool_counts_as_by_hand() -> None:
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == set(MODELS)
    assert all(row["macs"] == row["hand"] for row in rows if row["counter"] == "dynpool")
    page = (Path(__file__).parents[2] / "docs" / "how_it_compares.md").read_text()
    assert table(rows) in page
    seconds = {(row["model"], row["counter"]): float(row["cpu_seconds"]) for row in rows if row["cpu_seconds"]}
    slower = [model for model in MODELS if seconds[model, "dynpool"] > seconds[model, "torchinfo"]]
    (named,) = re.findall(r"more than torchinfo's for five of the twelve models \((.*?)\)", page, re.DOTALL)
    assert re.findall(r"`(.*?)`", named) == slower


def test_deviations_are_shown_in_percent() -> None:
    row = {"model": "m", "counter": "dynpool", "version": "1", "hand": "1000", "cpu_seconds": "0.5", "megabytes": "3"}
    rows = [
        row | {"macs": "1000", "error": ""},
        row | {"counter": "thop", "macs": "985", "error": ""},
        row | {"counter": "fvcore", "macs": "", "error": "ValueError", "cpu_seconds": "", "megabytes": ""},
    ]
    lines = table([*rows[:2], rows[2] | {"cpu_seconds": "2", "megabytes": "4"}]).splitlines()
    assert lines[2] == "| m | 0.000 | exact | -1.5 % | fails |"
    assert lines[3] == "| CPU seconds, median | | 0.5 | 0.5 | 2 |"
