"""HTML pages, which load nothing, and their style sheet."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["STYLE", "html_page"]

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; line-height: 1.3; margin: 44px 0 8px; }
p { margin: 8px 0; }
.setup, figcaption, .key { color: #555; font-size: 14.5px; }
.headline { font-size: 19px; line-height: 1.5; border-left: 4px solid #1a1a1a; padding-left: 16px; margin: 20px 0; }
.notes { background: #fff6e0; border: 1px solid #e8d5a0; border-radius: 6px; padding: 10px 16px; margin: 20px 0; }
.notes ul { margin: 4px 0; padding-left: 20px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 3px; text-align: right; vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid #1a1a1a; vertical-align: bottom; }
td { border-bottom: 1px solid #e2e2e2; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
table.pairs td:last-child { white-space: normal; text-align: left; padding-left: 14px; min-width: 150px; }
tr.above td { border-bottom: none; padding-bottom: 0; }
tr.sizes td { white-space: normal; color: #555; padding: 0 0 8px 19px; text-align: left; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 8px; }
table.pairs th:last-child { text-align: left; padding-left: 14px; }
.spread { color: #666; }
figure { margin: 8px 0 0; }
img { width: 100%; height: auto; display: block; }
h3 { font-size: 16.5px; margin: 28px 0 4px; }
details { border-top: 1px solid #e2e2e2; padding: 6px 0; }
summary { cursor: pointer; }
details[open] > summary { font-weight: 600; }
dt { font-weight: 600; margin-top: 8px; }
dd { margin: 0; }
"""


def html_page(title: str, parts: Iterable[str]) -> str:
    """An HTML page with this title as its heading; `parts` are HTML, empty ones are left out."""
    head = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{escape(title)}</h1>",
    ]
    return "\n".join([*head, *filter(None, parts), "</main></body></html>"]) + "\n"
