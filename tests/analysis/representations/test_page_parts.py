"""Parts of the page: what they hold is escaped, pictures are embedded, long lists are folded."""

import base64

from dynpool.analysis.representations import over_seeds
from dynpool.analysis.representations.page_parts import image, network_section, notes, summary_table, words
from tests.analysis.representations.reports import report
from tests.analysis.representations.small import row

FOUND = report(
    row("a<b", accuracy=0.5, relative=0.5), row("c", r_min_in=(12.0, 14.0), relative=0.9), notices=("x & y",)
)


def test_a_picture_is_embedded():
    found = image(b"png", 'a "b"', "below", width=300)
    assert base64.b64encode(b"png").decode() in found
    assert "max-width: 300px" in found
    assert 'alt="a &quot;b&quot;"' in found
    assert "figcaption" not in image(b"png", "a", "")


def test_notes_only_where_there_are_any():
    assert notes([]) == ""
    assert "<li>a &amp; b</li>" in notes(["a & b"])


def test_a_network_is_open_or_folded():
    shown = network_section("net", FOUND, folded=False)
    assert shown.startswith("<h2>net</h2>")
    assert "a&lt;b" in shown
    assert "<li>x &amp; y</li>" in shown
    assert "unproductive" in shown
    folded = network_section("net", FOUND, folded=True)
    assert folded.startswith("<details><summary>net: ")
    assert shown.removeprefix("<h2>net</h2>") in folded


def test_a_row_per_design():
    table = summary_table([over_seeds({"1": FOUND, "2": FOUND}, "human"), over_seeds({"3": FOUND}, "<x>")])
    assert table.count("<tr>") == 3
    assert "<td>human</td><td>2</td><td>95.0 ± 0.0 %</td><td>2</td>" in table
    assert "<td>&lt;x&gt;</td><td>1</td><td>95.0 %</td>" in table


def test_words_are_explained():
    assert "<dt>tail</dt>" in words()
