"""A report is read back as it was written; what is no report is named."""

import pytest

from dynpool.analysis import inspect
from dynpool.analysis.representations import (
    HessianSpectrum,
    PruningReport,
    PruningRow,
    read_pruning,
    read_report,
    read_similarity,
    read_spectrum,
)
from tests.analysis.representations.similarity_reports import cka_report
from tests.analysis.representations.small import batches, network


@pytest.mark.parametrize(
    "options", [{"heatmaps": ["7"]}, {"probes": False}, {"saturation": False, "layers": ["0", "9"]}]
)
def test_a_report_is_read_as_it_was_written(options, tmp_path):
    report = inspect(network(), batches(), batches(48, seed=1), **options)
    report.write(tmp_path)
    assert read_report(tmp_path / "inspection.json") == report


def test_pruning_spectra_and_similarity_are_read_as_they_were_written(tmp_path):
    row = PruningRow(0.5, 5, 10, {"0": 0.25, "1": 0.75}, 0.7, None)
    pruned = PruningReport("Net", 0.9, (row, PruningRow(0.9, 1, 10, {"0": 0.9, "1": 0.9}, 0.1, 0.4)), ("said",))
    pruned.write(tmp_path, score="accuracy")
    assert read_pruning(tmp_path / "pruning.json") == pruned
    spectrum = HessianSpectrum("Net", 9, (3.0, -1.0), "LA", 3, 0.1, 64, 1, 20, 100, ("one did not converge",))
    spectrum.write(tmp_path)
    assert read_spectrum(tmp_path / "hessian.json") == spectrum
    similar = cka_report(border_layer_a="conv2", border_a=1)
    similar.write(tmp_path)
    assert read_similarity(tmp_path / "cka.json") == similar
    dead = cka_report(((0.9, float("nan")), (0.25, float("nan"))))
    dead.write(tmp_path)
    assert str(read_similarity(tmp_path / "cka.json").values) == str(dead.values)
    for read in (read_pruning, read_spectrum, read_similarity):
        (tmp_path / "x.json").write_text('{"rows": 3}')
        with pytest.raises(ValueError, match=r"x\.json does not hold a report of"):
            read(tmp_path / "x.json")


def test_what_is_not_a_report_is_named(tmp_path):
    path = tmp_path / "inspection.json"
    for text in ("", "[]", "{}", '{"rows": 3, "test_images": 1}', '{"rows": [{}], "test_images": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"inspection\.json does not hold a report of inspect"):
            read_report(path)
    with pytest.raises(FileNotFoundError):
        read_report(tmp_path / "none.json")
