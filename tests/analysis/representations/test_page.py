"""The page is one file that holds every network and loads nothing."""

import json
import re

import pytest

from dynpool.analysis import inspect
from dynpool.analysis.representations import HessianSpectrum, PruningReport, PruningRow, write_page
from tests.analysis.representations.similarity_reports import cka_report
from tests.analysis.representations.small import batches, network


@pytest.fixture(scope="module")
def report():
    return inspect(network(), batches(), batches(48, seed=1), heatmaps=["7"])


def test_the_page_holds_every_network_and_loads_nothing(report, tmp_path):
    names = {"human, seed 0": report, "a <b> & c": report}
    page = write_page(names, tmp_path / "new").read_text(encoding="utf-8")
    assert page.count("<table>") == 2
    assert "a &lt;b&gt; &amp; c" in page
    assert "<b>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count(f"<td>{100 * report.rows[0].probe.accuracy:.1f} %</td>") >= 2
    assert (tmp_path / "new" / "layers.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((tmp_path / "new" / "agreement.json").read_text())["points"]) == 2


def test_one_network_has_its_verdict_as_headline(report, tmp_path):
    page = write_page({"mine": report}, tmp_path).read_text(encoding="utf-8")
    assert f'<p class="headline">{report.verdict[0].upper()}{report.verdict[1:]}.</p>' in page
    assert page.count(report.verdict[1:]) == 1
    assert "<h1>Which layers work: mine</h1>" in page


def test_seeds_are_taken_together(report, tmp_path):
    names = [f"{method}, seed {seed}" for method in ("human", "refine") for seed in (0, 1)]
    designs = {name: name.partition(",")[0] for name in names}
    page = write_page(dict.fromkeys(names, report), tmp_path, designs=designs).read_text(encoding="utf-8")
    assert "<td>human</td><td>2</td>" in page
    assert page.count("<details>") == 4
    assert "all of 20 probes converged" in page
    data = json.loads((tmp_path / "over_seeds.json").read_text())["designs"]
    assert [found["name"] for found in data] == ["human", "refine"]
    assert len((tmp_path / "over_seeds.csv").read_text().splitlines()) == 1 + 2 * len(report.rows)
    with pytest.raises(ValueError, match="designs has no entry for 'human, seed 1'"):
        write_page(dict.fromkeys(names, report), tmp_path, designs={"human, seed 0": "human"})


def test_pruning_curvature_and_similarity_have_sections(report, tmp_path):
    pruned = PruningReport("Net", 0.9, (PruningRow(0.5, 5, 10, {"0": 0.5}, 0.7, 0.8),), ("a layer is empty",))
    spectrum = HessianSpectrum("Net", 9, (3.0, 1.0), "LA", 2, 0.1, 64, 1, 20, 100, ("one did not converge",))
    names = {"human, seed 0": report, "human, seed 1": report}
    page = write_page(
        names, tmp_path, designs=dict.fromkeys(names, "human"), pruning=dict.fromkeys(names, pruned),
        spectra={"human, seed 0": {"before training": spectrum, "trained": spectrum}},
        similarity={"human: seed 0 and seed 1": cka_report()},
    ).read_text(encoding="utf-8")  # fmt: skip
    for words in (
        "<h2>Pruning</h2>", "human, seed 1: a layer is empty", "The 2 largest eigenvalues", "64 training images",
        "human, seed 0, trained: one did not converge", "<h3>human: seed 0 and seed 1</h3>", cka_report().verdict[1:],
    ):  # fmt: skip
        assert words in page
    plain = write_page(names, tmp_path).read_text(encoding="utf-8")
    assert "<h2>Pruning</h2>" not in plain
    assert "<h2>Curvature</h2>" not in plain


def test_no_report_is_refused(tmp_path):
    with pytest.raises(ValueError, match="reports is empty"):
        write_page({}, tmp_path)
