"""The page is one file that holds every network and loads nothing."""

import json
import re

import pytest

from dynpool.analysis import inspect
from dynpool.analysis.representations import write_page
from tests.analysis.representations.small import batches, network


@pytest.fixture(scope="module")
def report():
    return inspect(network(), batches(), batches(48, seed=1), heatmaps=["7"])


def test_the_page_holds_every_network_and_loads_nothing(report, tmp_path):
    names = {"human, seed 0": report, "a <b> & c": report}
    page = write_page(names, tmp_path / "new", pictured={"human": "human, seed 0"}).read_text(encoding="utf-8")
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
    assert "<h1>Which layers work: mine</h1>" in page


def test_no_report_is_refused(tmp_path):
    with pytest.raises(ValueError, match="reports is empty"):
        write_page({}, tmp_path)
