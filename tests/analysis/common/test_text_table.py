"""Columns of a table as text line up."""

import pytest

from dynpool.analysis.common.text_table import aligned


def test_columns_line_up_and_lines_end_with_their_last_cell():
    lines = aligned([("layer", "n", ""), ("a", "100", "last"), ("longer", "1", "")], left={0, 2})
    assert lines == ["layer     n", "a       100  last", "longer    1"]


def test_rows_must_have_equally_many_cells():
    with pytest.raises(ValueError, match="shorter"):
        aligned([("a", "b"), ("c",)], left={0})


def test_no_row_is_no_line():
    assert aligned([], left={0}) == []
