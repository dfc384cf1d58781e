"""The style sheet and script of pages that open without network."""

import re

from dynpool.analysis.common.page_style import SORTING, STYLE, html_page


def test_it_loads_nothing_and_is_whole():
    assert not re.findall(r"url\(|@import|https?:|</", STYLE)
    assert STYLE.count("{") == STYLE.count("}") > 20


def test_a_page_has_its_title_escaped_and_leaves_out_what_is_empty():
    page = html_page("a < b", ["<p>one</p>", "", "<p>two</p>"])
    assert page.count("a &lt; b") == 2
    assert "a < b" not in page
    assert page.endswith("<h1>a &lt; b</h1>\n<p>one</p>\n<p>two</p>\n</main></body></html>\n")


def test_only_a_page_with_a_table_to_sort_has_the_script():
    table = '<table class="sortable "><thead></thead></table>'
    assert f"<script>{SORTING}</script>\n</main>" in html_page("a", [f"<div>{table}</div>"])
    assert "<script>" not in html_page("a", ["<table></table>"])
