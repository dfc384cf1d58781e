"""The page is one file that holds every network; the report is read back as it was written."""

import json
import re

import pytest
import torch
from torch import nn

from dynpool.analysis.representations import inspect, read_report, write_page


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 6, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    labels = torch.arange(96) % 3
    images = torch.randn(96, 1, 8, 8) + labels.view(-1, 1, 1, 1)
    return inspect(network, [(images[:64], labels[:64])], [(images[64:], labels[64:])], heatmaps=["3"])


def test_a_report_is_read_as_it_was_written(report, tmp_path):
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
