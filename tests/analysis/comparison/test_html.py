"""The HTML report is complete, self-contained, escaped and never half-written."""

import base64
import csv
import os
import re
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from dynpool.analysis.common.page_style import SORTING
from dynpool.analysis.comparison.html import compare_runs, write_report
from dynpool.analysis.comparison.plots import to_png

WriteRun = Callable[..., Path]
VOID = {"meta", "img", "br"}


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynpool.analysis.common.style.to_png", partial(to_png, dpi=20))


class Page(HTMLParser):
    """The text, the attributes and the nesting of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "tags are nested"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_is_self_contained(comparison_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    path = write_report([comparison_folder], out)
    assert path == out / "report.html"
    pictures = ["pairs", "accuracy_vs_gmacs", "sizes", "i_min", "alphas", "accuracy"]
    assert sorted(os.listdir(out)) == sorted(
        ["report.html", "summary.csv", "pairs.csv", *(f"{name}.png" for name in pictures)]
    )
    page = Page(path.read_text())
    assert page.open == []
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    for name, attributes in zip(pictures, images, strict=True):
        head, data = str(attributes["src"]).split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data) == (out / f"{name}.png").read_bytes()
        assert attributes["alt"]
    (pair,) = compare_runs([comparison_folder]).pairs
    assert images[0]["alt"] == f"dynopool against human: {pair.verdict}"
    loading = {"link", "iframe", "object", "embed", "video", "audio", "base", "form"}
    assert not loading & {tag for tag, _ in page.tags}
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert f"<script>{SORTING}</script>" in path.read_text()
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[^\"]*", "", path.read_text()))


def test_report_shows_the_figures(comparison_folder: Path, tmp_path: Path) -> None:
    comparison = compare_runs([comparison_folder])
    text = Page(write_report([comparison_folder], tmp_path / "out").read_text()).text
    assert comparison.headline in text
    assert "83.0 ± 1.0" in text
    assert "90.0 ± 1.0" in text
    for row in comparison.rows:
        assert " → ".join(f"{height}×{width}" for height, width in row.sizes.values()) in text
    assert "model narrow-vgg · data digits (variant tile, resolution 32) · input 1×32×32" in text
    assert "16 epochs · seeds 0, 1, 2" in text
    assert "Notes" not in text
    assert "Final sizes (height × width) of: " in text
    assert "strip" not in text


def test_plots_as_vectors_on_request(comparison_folder: Path, tmp_path: Path) -> None:
    page = write_report([comparison_folder], tmp_path / "a", vector=True)
    pictures = {path.stem for path in page.parent.glob("*.png")}
    assert {path.stem for path in page.parent.glob("*.svg")} == pictures
    assert b"<svg" in (page.parent / "alphas.svg").read_bytes()
    assert page.read_bytes() == write_report([comparison_folder], tmp_path / "b").read_bytes()


def test_every_row_of_a_sortable_table_is_an_item_of_its_own(comparison_folder: Path, tmp_path: Path) -> None:
    page = write_report([comparison_folder], tmp_path).read_text()
    tables = re.findall(r'<table class="sortable (\w*)">(.*?)</table>', page, re.DOTALL)
    assert [(kind, table.count("<tbody>")) for kind, table in tables] == [("", 2), ("pairs", 1), ("runs", 6)]
    for _, table in tables:
        columns = table.count("<th>")
        for body in table.split("<tbody>")[1:]:
            first, *below = body.split("</tr>\n<tr")
            assert first.count("<td>") == columns
            assert all(f'colspan="{columns}"' in row for row in below), "moves with its run"


def test_report_shows_budgets_and_layers_left_out(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / "h", "human"), write_run(tmp_path / "d", "diffstride", behind_global=4)]
    folders += [write_run(tmp_path / "b", "dynopool", grid_point="gmacs_budget=0.125", gmacs_budget=0.125)]
    folders += [write_run(tmp_path / "r", "random", gmacs_budget=0.25)]
    text = Page(write_report(folders, tmp_path / "out").read_text()).text
    assert "budget 250" in text  # MMACs, as the costs
    assert "budget 125" not in text  # the name of the row has it
    assert "missing its gmacs_budget of 0.125 by" in text
    assert text.count("Convolutions not counted: diffstride 4.") == 2  # below the table and the plot of I_min
    assert "gmacs_budget=0.125" in text


def test_summary_is_that_of_the_comparison(comparison_folder: Path, tmp_path: Path) -> None:
    write_report([comparison_folder], tmp_path)
    text = (tmp_path / "summary.csv").read_text()
    assert text == compare_runs([comparison_folder]).to_csv()
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["kind"] for row in rows] == ["method"] * 2 + ["run"] * 6


def test_same_runs_give_the_same_report(comparison_folder: Path, tmp_path: Path) -> None:
    first = write_report([comparison_folder], tmp_path / "a").read_bytes()
    assert write_report([comparison_folder], tmp_path / "b").read_bytes() == first
    assert write_report(compare_runs([comparison_folder]), tmp_path / "c").read_bytes() == first


def test_report_inside_the_comparison_folder_and_again(comparison_folder: Path) -> None:
    first = write_report([comparison_folder], comparison_folder).read_bytes()
    assert write_report([comparison_folder], comparison_folder).read_bytes() == first
    assert not [name for name in os.listdir(comparison_folder) if name.endswith(".tmp")]


def test_single_human_run(tmp_path: Path, write_run: WriteRun) -> None:
    path = write_report([write_run(tmp_path / "a", "human")], tmp_path / "out")
    text = Page(path.read_text()).text
    assert "there is no other method to compare it with" in text
    assert "No run learns its sizes" in text
    assert "82.0" in text
    assert "82.0 ±" not in text
    assert not (tmp_path / "out" / "alphas.png").exists()


def test_unfinished_and_truncated_runs_are_marked(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path / "cut", epochs=5, planned=16)
    (folder / "metrics.csv").write_text((folder / "metrics.csv").read_text()[:-9])
    text = Page(write_report([folder, write_run(tmp_path / "h", "human")], tmp_path / "out").read_text()).text
    assert "Preliminary, 1 of 2 runs unfinished" in text
    assert "4/16unfinished" in text
    assert "cut: metrics.csv line 7 has no newline" in text
    assert "cut: unfinished, epoch 4 of 16" in text


def test_text_from_runs_is_escaped(tmp_path: Path, write_run: WriteRun) -> None:
    evil = '<script>alert("x")</script>&\'"'
    data = {"name": evil, evil: evil}
    folder = write_run(tmp_path / "a<b>&", evil, epochs=3, planned=9, model=evil, data=data, checksums=False)
    metrics = folder / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("features.2", "<img src=x onerror=1>"))
    html = write_report([folder], tmp_path / "out").read_text()
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "div", "strong", "ul", "li"),
        *("table", "thead", "tbody", "tr", "th", "td", "span", "sub", "br", "figure", "figcaption", "img"),
        *("dl", "dt", "dd", "a", "script"),
    }
    assert all(str(attributes["src"]).startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert [tag for tag, _ in page.tags].count("script") == 1, "the page's own"
    assert evil in page.text
    assert "<img src=x onerror=1>" in page.text


def test_out_that_is_a_file(comparison_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"out must be a folder, but '.*file' is a file"):
        write_report([comparison_folder], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_bad_run_leaves_an_earlier_report_alone(comparison_folder: Path, tmp_path: Path) -> None:
    path = write_report([comparison_folder], tmp_path / "out")
    before = path.read_bytes()
    (comparison_folder / "human-seed1" / "metrics.csv").write_text("")
    with pytest.raises(ValueError, match=r"human-seed1: metrics.csv is empty"):
        write_report([comparison_folder], tmp_path / "out")
    assert path.read_bytes() == before


def test_full_disk_leaves_the_old_files_and_no_partial_ones(
    tmp_path: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "a", "human", epochs=2)
    path = write_report([folder], tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in os.listdir(tmp_path / "out")}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report([folder], tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in os.listdir(tmp_path / "out")} == before
    assert path.exists()


def test_report_is_readable_like_any_other_file(tmp_path: Path, write_run: WriteRun) -> None:
    path = write_report([write_run(tmp_path / "a", "human", epochs=1)], tmp_path / "out")
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(("data", "said"), [("folder", False), ("digits", True)])
def test_the_fraction_of_the_digits_is_told_of_them_alone(
    tmp_path: Path, write_run: WriteRun, data: str, said: bool
) -> None:
    run = write_run(tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] = {"name": data, "variant": "tile", "test_fraction": 0.25}
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    text = Page(write_report([run], tmp_path / "out").read_text()).text
    assert f"data {data} (variant tile{', test_fraction 0.25' * said})" in text
