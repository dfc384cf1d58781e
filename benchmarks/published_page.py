"""Writes docs/receptive_fields.md from benchmarks/results/ and the text in benchmarks/published/page.md."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["PAGE", "page"]

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "receptive_fields.md"

Rows = Mapping[str, Mapping[str, tuple[str, str]]]  # by row and quantity: printed and computed


def page() -> str:
    """The text of the page, from the existing results."""
    tables: dict[str, dict[str, dict[str, tuple[str, str]]]] = {}
    for line in _read("published_fields.csv"):
        row = tables.setdefault(line["table"], {}).setdefault(line["row"], {})
        row[line["quantity"]] = (line["printed"], line["computed"])
    template = (HERE / "published" / "page.md").read_text()
    return template.format(
        **_table7(tables["table7"]),
        distill=_distill(tables["distill"]),
        edits=_edits(tables["edits"]),
        **_projection(tables["projection"]),
        **_exactness(_read("field_exactness.csv")),
        **_speed(_read("receptive_field.csv")),
    )


def _read(name: str) -> list[dict[str, str]]:
    with (HERE / "results" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _marked(pair: tuple[str, str]) -> str:
    """The computed value, bold if it differs from the printed one."""
    was, now = pair
    return now if float(was) == float(now) else f"**{now}**"


def _table7(found: Rows) -> dict[str, str]:
    def equal(quantity: str) -> str:
        return str(sum(float(was) == float(now) for was, now in (row[quantity] for row in found.values())))

    rows = [[name, r["i_min"][0], _marked(r["i_min_table7"]), _marked(r["i_min"])] for name, r in found.items()]
    table = _table(["network", "printed", "`i_min_table7`", "`i_min`"], rows)
    counts = {quantity: equal(quantity) for quantity in ("i_min_table7", "i_min")}
    return {"table7": table, "rows": str(len(found)), **counts}


def _distill(found: Rows) -> str:
    quantities = ("receptive field", "effective stride", "effective padding")
    head = ["network", *[cell for q in quantities for cell in (q, "computed")]]
    return _table(
        head, [[name, *[c for q in quantities for c in (r[q][0], _marked(r[q]))]] for name, r in found.items()]
    )


def _edits(found: Rows) -> str:
    """The table of edits. The rule "in front" applies only to the values printed for CIFAR."""
    rows = []
    for name, r in found.items():
        before = [r["i_min before"][0], _marked(r["i_min before"]), _marked(r["i_min_table7 before"])]
        after = [r["i_min after"][0], _marked(r["i_min after"])]
        rows.append([name, *before, *after, _marked(r["in front of layers"]) if "CIFAR" in name else ""])
    return _table(["network", "before", "`i_min`", "`i_min_table7`", "after", "`i_min`", "in front"], rows)


def _projection(found: Rows) -> dict[str, str]:
    field, gradient = "receptive field", "largest projected gradient"
    head = ["network", "field", "computed", "projected gradient", "computed, random weights"]
    rows = [[name, r[field][0], _marked(r[field]), r[gradient][0], r[gradient][1]] for name, r in found.items()]
    falls = {}
    for key, name in (("vgg", "VGG"), ("resnet", "ResNet50")):
        pairs = [r[gradient] for row, r in found.items() if row.startswith(name)]
        for suffix, which in (("_printed", 0), ("", 1)):
            falls[key + suffix] = f"{float(pairs[0][which]) / float(pairs[-1][which]):.1f}"
    return {"projection": _table(head, rows), **falls}


def _exactness(lines: Sequence[dict[str, str]]) -> dict[str, int]:
    columns = ("layers", "positions", "regions", "shortest", "mismatches")
    return {"networks": len(lines), **{c: sum(int(line[c]) for line in lines) for c in columns}}


def _speed(lines: Sequence[dict[str, str]]) -> dict[str, str]:
    ran = [line for line in lines if line["cpu_seconds"]]
    slowest = max(ran, key=lambda line: float(line["cpu_seconds"]))
    largest = max(ran, key=lambda line: float(line["megabytes"]))
    return {
        "models": str(len(lines)),
        "failed": str(sum(bool(line["error"]) for line in lines)),
        "not_understood": str(sum(bool(line["not_understood"]) for line in lines)),
        "median": f"{statistics.median(float(line['cpu_seconds']) for line in ran):.2f}",
        "slowest": f"{float(slowest['cpu_seconds']):.1f}",
        "slowest_model": slowest["model"],
        "megabytes": f"{float(largest['megabytes']):.0f}",
        "largest_model": largest["model"],
        "machine": slowest["machine"],
        "torch": slowest["torch"],
    }
