"""The style sheet of pages that open without network."""

import re

from dynpool.analysis.common.page_style import STYLE


def test_it_loads_nothing_and_is_whole():
    assert not re.findall(r"url\(|@import|https?:|</", STYLE)
    assert STYLE.count("{") == STYLE.count("}") > 20
