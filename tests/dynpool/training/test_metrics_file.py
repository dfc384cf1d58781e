"""Rows of metrics.csv have the columns of their task, exact numbers, and checksums."""

import csv
import io
import math

from dynpool.analysis.common.checksums import is_intact
from dynpool.training.metrics_file import (
    COLUMNS,
    SEGMENTATION_COLUMNS,
    cell_text,
    columns_of,
    field_columns,
    table_text,
)


def test_only_segmentation_has_columns_of_mean_iou():
    row = dict.fromkeys(COLUMNS, 0.5)
    assert columns_of(row) == list(COLUMNS)
    assert columns_of(row | dict.fromkeys(SEGMENTATION_COLUMNS)) == [*COLUMNS, *SEGMENTATION_COLUMNS]


def test_numbers_are_exact_and_missing_ones_empty():
    assert float(cell_text(0.1 + 0.2)) == 0.1 + 0.2
    assert [cell_text(value) for value in (None, math.inf, 3)] == ["", "inf", "3"]
    assert cell_text({"input": [4, 5]}) == '{"input": [4, 5]}'


def test_rows_have_checksums():
    rows = [{"epoch": "0", "gmacs": "1.5"}, {"epoch": "1", "gmacs": "2.5"}]
    found = list(csv.DictReader(io.StringIO(table_text(rows))))
    assert [{"epoch": row["epoch"], "gmacs": row["gmacs"]} for row in found] == rows
    assert all(is_intact(row) for row in found)


def test_other_axes_have_other_columns_of_receptive_fields_in_their_place():
    images = dict.fromkeys(COLUMNS, 0.5)
    first, last = COLUMNS.index("i_min_h"), COLUMNS.index("i_max_local_w")
    for axes in (1, 3):
        row = {key: value for key, value in images.items() if key not in field_columns(2)}
        found = columns_of(row | dict.fromkeys(field_columns(axes)))
        assert tuple(found) == COLUMNS[:first] + field_columns(axes) + COLUMNS[last + 1 :]
    assert field_columns(3)[:4] == ("i_min_d", "i_min_h", "i_min_w", "i_max_d")
