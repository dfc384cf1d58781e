"""What a conversion reports: rows as data, and the error of a model that has nothing to learn."""

import pickle

import pytest
from torch import nn

import dynpool
from dynpool.conversion.report import ConversionReport, ConversionRow

ROWS = (
    ConversionRow("pool", "max_pool 2x2 stride 2", "pool", "converted", macs=(0, 0)),
    ConversionRow("head", "avg_pool 7x7 stride 7", "-", "left alone", "its output size is fixed"),
)


def test_rows_are_found_by_status_and_given_as_plain_containers() -> None:
    report = ConversionReport((3, 32, 32), ROWS, ("aten.odd",), ("a note",))
    assert report.of("left alone") == ROWS[1:]
    assert not report.of("tied")
    told = report.to_dict()
    assert (told["input_size"], told["rows"][1]["why"]) == ([3, 32, 32], "its output size is fixed")
    assert str(report).splitlines()[-3:] == [
        "1 converted, 1 left alone",
        "operations without a rule: aten.odd",
        "a note",
    ]


def test_macs_are_added_by_the_layers_names() -> None:
    report = ConversionReport((3, 32, 32), ROWS, ()).with_macs({"pool": 3, "other": 4}, {"pool": 5})
    assert ([row.macs for row in report.rows], report.macs) == ([(3, 5), (0, 0)], (7, 5))
    assert str(report).splitlines()[3].split() == ["the", "model", "7", "5"]
    assert "MACs" not in str(ConversionReport((3, 32, 32), ROWS, ())), "of a model that was not converted"


def test_a_model_with_nothing_to_learn_is_refused_with_the_report_of_its_resizers() -> None:
    with pytest.raises(dynpool.NothingToLearnError, match="no pooling or strided layer") as plain:
        dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 32, 32))
    assert plain.value.report.rows == ()
    with pytest.raises(dynpool.NothingToLearnError, match="no resizer of the Sequential can be learned") as refused:
        dynpool.convert(nn.Sequential(nn.MaxPool2d(2, return_indices=True)), (3, 32, 32))
    assert [(row.status, row.why) for row in refused.value.report.rows] == [("left alone", "its indices are used")]
    assert isinstance(refused.value, ValueError)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
