"""The page of published receptive fields shows what the library currently computes."""

import csv
from collections import defaultdict

import pytest

from benchmarks.published_fields import COLUMNS, RESULTS, TABLES, computed, label, printed
from benchmarks.published_page import PAGE, page


def results() -> list[dict[str, str]]:
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_shows_the_results() -> None:
    assert PAGE.read_text() == page()


@pytest.mark.parametrize(
    ("table", "architecture"),
    [
        *[("table7", name) for name in ("VGG-16", "ResNet-50", "SqueezeNet 1.1", "MobileNetV3 small")],
        *[("distill", name) for name in ("alexnet_v2", "mobilenet_v1", "resnet_v1_50", "torchvision's ResNet-50")],
        *[("edits", name) for name in ("VGG-16 on CIFAR", "MobileNetV3 small")],
    ],
)
def test_the_results_are_those_of_now(table: str, architecture: str) -> None:
    row = next(row for row in printed(table) if row["architecture"] == architecture)
    then = [line for line in results() if line["table"] == table and line["row"] == label(row)]
    assert list(computed(table, row)) == then


def test_every_printed_row_is_there() -> None:
    there = {(line["table"], line["row"]) for line in results()}
    rows = {(table, label(row)) for table in TABLES for row in printed(table) if row["network"]}
    assert there == rows
    assert list(results()[0]) == list(COLUMNS)


def test_what_the_page_says_of_the_tables() -> None:
    equal: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in results():
        if float(line["printed"]) == float(line["computed"]):
            equal[line["table"], line["quantity"]].append(line["row"])
    assert len(equal["table7", "i_min_table7"]) == 42
    assert len(equal["table7", "i_min"]) == 39
    for quantity in ("receptive field", "effective stride", "effective padding"):
        assert len(set(equal["distill", quantity]) - {"torchvision's ResNet-50"}) == 11
    assert sum("CIFAR" not in row for row in equal["edits", "i_min after"]) == 9
    assert sum("CIFAR" in row for row in equal["edits", "in front of layers"]) == 2
    assert len(equal["projection", "receptive field"]) == 4


def test_gradients_fall_as_fields_grow() -> None:
    for name in ("VGG", "ResNet50"):
        found = [
            float(line["computed"])
            for line in results()
            if line["quantity"] == "largest projected gradient" and line["row"].startswith(name)
        ]
        assert len(found) == 4
        assert found == sorted(found, reverse=True)
