"""Rows go into a file only under the columns that they were made for."""

from pathlib import Path

import pytest

from benchmarks.appending import append, check_columns
from benchmarks.dynopool2d_results import Results


def test_rows_are_appended_below_one_header(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    append(path, ["what", "time"], [{"what": "a", "time": 1}])
    append(path, ["what", "time"], [{"what": "b, c"}, {"what": "d", "time": 2}])
    assert path.read_bytes() == b'what,time\na,1\n"b, c",\nd,2\n'


def test_lines_end_as_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"what,time\r\na,1\r\n")
    append(path, ["what", "time"], [{"what": "b", "time": 2}])
    assert path.read_bytes() == b"what,time\r\na,1\r\nb,2\r\n"


@pytest.mark.parametrize("columns", [["what"], ["time", "what"], ["what", "time", "device"]])
def test_a_file_with_other_columns_is_left_as_it_is(tmp_path: Path, columns: list[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("what,time\na,1\n")
    with pytest.raises(ValueError, match=r"rows\.csv has the columns what, time, not"):
        append(path, columns, [dict.fromkeys(columns, 1)])
    assert path.read_text() == "what,time\na,1\n"


def test_an_empty_file_or_none_has_no_other_columns(tmp_path: Path) -> None:
    check_columns(tmp_path / "none.csv", ["what"])
    (tmp_path / "empty.csv").touch()
    append(tmp_path / "empty.csv", ["what"], [{"what": "a"}])
    assert (tmp_path / "empty.csv").read_text() == "what\na\n"


def test_a_value_without_a_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="time"):
        append(tmp_path / "rows.csv", ["what"], [{"what": "a", "time": 1}])


def test_the_operators_benchmark_measures_nothing_for_a_file_with_other_columns(tmp_path: Path) -> None:
    (tmp_path / "dynopool2d_cpu.csv").write_text("what,time\n")
    with pytest.raises(ValueError, match=r"dynopool2d_cpu\.csv has the columns what, time"):
        Results(tmp_path)


def test_the_repositorys_rows_can_be_continued() -> None:
    Results(Path(__file__).parents[2] / "benchmarks" / "results")
