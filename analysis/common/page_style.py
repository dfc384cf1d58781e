"""HTML pages, which load nothing: their style sheet, and the script that sorts tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["SORTING", "STYLE", "html_page"]

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 940px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; line-height: 1.3; margin: 44px 0 8px; }
p { margin: 8px 0; }
.setup, figcaption, .key { color: #555; font-size: 14.5px; }
.headline { font-size: 19px; line-height: 1.5; border-left: 4px solid #1a1a1a; padding-left: 16px; margin: 20px 0; }
.notes { background: #fff6e0; border: 1px solid #e8d5a0; border-radius: 6px; padding: 10px 16px; margin: 20px 0; }
.notes ul { margin: 4px 0; padding-left: 20px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 5px; text-align: right; vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid #1a1a1a; vertical-align: bottom; }
td { border-bottom: 1px solid #e2e2e2; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
table.pairs td:last-child { white-space: normal; text-align: left; padding-left: 14px; min-width: 150px; }
table.runs tr:first-child td { border-bottom: none; padding-bottom: 0; }
tr.sizes td { white-space: normal; color: #555; padding: 0 0 8px 19px; text-align: left; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 8px; }
table.pairs th:last-child { text-align: left; padding-left: 14px; }
.spread { color: #666; }
.files { margin-left: 16px; } .files a { margin-right: 8px; }
a { color: #0b5cad; }
th button { all: unset; cursor: pointer; } th button:hover { text-decoration: underline; }
th button:focus-visible, a.point:focus-visible { outline: 2px solid #0b5cad; outline-offset: 2px; }
th[aria-sort] button::after { content: " \\2193"; } th[aria-sort="ascending"] button::after { content: " \\2191"; }
.picture { position: relative; }
a.point { position: absolute; width: 16px; height: 16px; margin: -8px 0 0 -8px; border-radius: 50%; }
a.point:hover, a.point:focus { box-shadow: 0 0 0 2px #1a1a1a; z-index: 1; }
a.point:hover::after, a.point:focus::after { content: attr(data-tip); position: absolute; top: -6px; left: 22px;
  background: #1a1a1a; color: #fff; font-size: 13px; padding: 3px 8px; border-radius: 4px; width: max-content;
  max-width: 45vw; }
a.point.left:hover::after, a.point.left:focus::after { left: auto; right: 22px; }
figure { margin: 8px 0 0; max-width: 900px; }
img { width: 100%; height: auto; display: block; }
h3 { font-size: 16.5px; margin: 28px 0 4px; }
details { border-top: 1px solid #e2e2e2; padding: 6px 0; }
summary { cursor: pointer; }
details[open] > summary { font-weight: 600; }
dt { font-weight: 600; margin-top: 8px; }
dd { margin: 0; }
@media (max-width: 640px) { .picture { width: 680px; } }
@media print {
  @page { size: A4; margin: 14mm; }
  main { max-width: none; padding: 0; }
  body { font-size: 10.5pt; } .headline { font-size: 12.5pt; }
  table { font-size: 7pt; } .wide { overflow: visible; } th, td { padding: 3px 2px; }
  h1, h2, h3 { break-after: avoid; } figure, tbody, dt, .notes { break-inside: avoid; } dt { break-after: avoid; }
  figure img { width: auto; max-width: 100%; max-height: 225mm; }
  .files, a.point { display: none; }
}
"""

# A heading of a sortable table becomes a button: the first click sorts downwards, the next upwards. Cells are sorted
# by the number they begin with, or as text; those without a value ("-") come last either way.
SORTING = """
const value = (body, column) => {
  const shown = body.rows[0].cells[column].innerText.trim();
  const text = shown.replace("\u2212", "-").replace(/^[×<]\\s*/, "").replace(/,/g, "");
  return text === "-" ? null : Number.isNaN(parseFloat(text)) ? text : parseFloat(text);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sorted = [...table.tBodies].map((body) => [value(body, column), body]).sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
        return down ? -order : order;
      });
      table.append(...sorted.map(([, body]) => body));
    });
  });
}
"""


def html_page(title: str, parts: Sequence[str]) -> str:
    """An HTML page with this title as its heading; `parts` are HTML, empty ones are left out."""
    head = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{escape(title)}</h1>",
    ]
    sorting = f"<script>{SORTING}</script>" if any('<table class="sortable' in part for part in parts) else ""
    return "\n".join([*head, *filter(None, [*parts, sorting]), "</main></body></html>"]) + "\n"
