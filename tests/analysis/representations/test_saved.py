"""A report is read back as it was written; what is no report is named."""

import pytest

from dynpool.analysis import inspect
from dynpool.analysis.representations import read_report
from tests.analysis.representations.small import batches, network


@pytest.mark.parametrize(
    "options", [{"heatmaps": ["7"]}, {"probes": False}, {"saturation": False, "layers": ["0", "9"]}]
)
def test_a_report_is_read_as_it_was_written(options, tmp_path):
    report = inspect(network(), batches(), batches(48, seed=1), **options)
    report.write(tmp_path)
    assert read_report(tmp_path / "inspection.json") == report


def test_what_is_not_a_report_is_named(tmp_path):
    path = tmp_path / "inspection.json"
    for text in ("", "[]", "{}", '{"rows": 3, "test_images": 1}', '{"rows": [{}], "test_images": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"inspection\.json does not hold a report of inspect"):
            read_report(path)
    with pytest.raises(FileNotFoundError):
        read_report(tmp_path / "none.json")
