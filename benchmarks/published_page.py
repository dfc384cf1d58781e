"""Writes docs/receptive_fields.md from the results in benchmarks/results/: printed beside computed, row by row."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PAGE", "page"]

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "receptive_fields.md"

Cells = dict[str, dict[str, tuple[str, str]]]  # by row and quantity: printed and computed

HEAD = """\
# Published receptive fields, computed again

Made by `python -m benchmarks.published_fields`; what is printed is in `benchmarks/published/`, what comes out in
`benchmarks/results/published_fields.csv`. Numbers are pixels. A bold number differs from the printed one.
"""

TABLE7 = """\
## I_min of unchanged networks

Richter and Pal, *Receptive Field Refinement for Convolutional Neural Networks Reliably Improves Predictive Performance*,
Table 7. `i_min` is their Eq. 7: the largest r_min of all layers. `i_min_table7` takes max(r_min, k · S) of each layer, with
k its kernel and S the effective stride behind it. Table 7 was made with the latter: it gives {table7} of {rows} rows,
`i_min` {i_min}. They differ in the three deep ResNets alone, where the strided 1x1 shortcuts keep r_min small while the
last 3x3 convolution, of effective stride 32, spans 96 pixels.
"""

DISTILL = """\
## Receptive field, effective stride, effective padding

Araujo et al., *Computing Receptive Fields of Convolutional Neural Networks*, Distill 2019: the last map of TF-Slim's
networks. These differ from their namesakes in PyTorch, so they are built as TF-Slim has them: no padding in front of
AlexNet's first convolution; SAME padding, which on even maps pads at the end alone, in MobileNet and at the pool of the
ResNets' stem; strides in the last block of a ResNet's stage. torchvision's own ResNet-50 has {resnet50}. Widths do not
matter, so one MobileNet stands for both. Inception-v2 has no counterpart in timm or torchvision.
"""

EDITS = """\
## Static refinement

Richter and Pal's edits by hand (Tables 2 and 4, Section 5, Appendices D and E), made by `baselines.refine(..., edits=...)`.
I_min of the refined networks comes out as printed for all of ImageNet's; for CIFAR what is printed after the edit follows
another rule, the largest r_min *in front* of a layer of more than one pixel, or its k · S, and *before* follows
`i_min_table7`. The 29 printed for MobileNetV2 could not be derived by any rule. VGG-19 is printed with 269 in another
place. EfficientNet is refined as its printed I_min and GMACs demand (strides at the stem and stages 2, 3 and 5); the
text's own words, of the fourth stage, would give 171.
"""

PROJECTION = """\
## Gradients of the centre

The largest value of the centre unit's gradient, projected onto an axis, at 64x64 pixels (Avendano's centre-gradient
projection), for a VGG and a ResNet-50 whose field was widened. Neither weights nor scale are printed with it, so
the values here are those of fresh weights (seed 0, 16 images of noise), and only their course can be compared: they fall
as the field grows, from the first network to the last by {vgg} in the VGG, which has no shortcuts ({vgg_printed} in
print), and by {resnet} in the ResNet ({resnet_printed}). The networks are those that fit the printed fields: VGG-11 with
pools of 3x3 and a first convolution of stride s, 3 + 178 · s, is exact for all four; ResNet-50 with a 3x3 convolution of
stride s for a stem has 3 + 104 · s, while 3 + 105 · s fits three of the printed numbers and not the first, so that the
network meant has another pixel somewhere.
"""

EXACTNESS = """\
## Against gradients

`python -m benchmarks.field_exactness` compares {networks} networks of torchvision and timm with gradients: at strictly
positive weights, with a mean for every maximum, a pixel has a gradient exactly if it is seen. At the corners and the middle
of {layers} layers, {positions} positions, the pixels seen were compared; where the recurrence holds to the pixel (whole
strides, aligned paths, the field inside of the image), r_max, region and padding at {regions} positions; r_min, by
cutting all longer branches, of {shortest} layers. Mismatches: {mismatches}.
"""

SPEED = """\
## Every model

`python benchmarks/receptive_field.py` runs `receptive_field` on every model of timm and torchvision, {models} measured, at
each one's own size. {failed} fail, {not_understood} have an operation without a rule. Processor time: median
{median:.2f} s, at most {slowest:.1f} s ({slowest_model}); the process grows by at most {megabytes:.0f} MB ({largest_model}).
Measured on {machine} with one thread, torch {torch}, beside other programs: it is the processor's time that counts, not
the clock's.
"""


def page() -> str:
    """The page, from the results that are there."""
    cells = _cells(_read("published_fields.csv"))
    parts = [HEAD, _table7(cells["table7"]), _distill(cells["distill"]), _edits(cells["edits"])]
    parts += [_projection(cells["projection"]), _exactness(_read("field_exactness.csv"))]
    parts.append(_speed(_read("receptive_field.csv")))
    return "\n".join(parts)


def _read(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def _cells(lines: Sequence[dict[str, str]]) -> dict[str, Cells]:
    found: dict[str, Cells] = {}
    for line in lines:
        row = found.setdefault(line["table"], {}).setdefault(line["row"], {})
        row[line["quantity"]] = (line["printed"], line["computed"])
    return found


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _marked(pair: tuple[str, str]) -> str:
    """What is computed, bold if it is not what is printed."""
    was, now = pair
    return now if float(was) == float(now) else f"**{now}**"


def _equal(cells: Cells, quantity: str) -> int:
    return sum(float(was) == float(now) for was, now in (row[quantity] for row in cells.values()))


def _table7(cells: Cells) -> str:
    text = TABLE7.format(rows=len(cells), table7=_equal(cells, "i_min_table7"), i_min=_equal(cells, "i_min"))
    rows = [[name, r["i_min"][0], _marked(r["i_min_table7"]), _marked(r["i_min"])] for name, r in cells.items()]
    return f"{text}\n{_table(['network', 'printed', '`i_min_table7`', '`i_min`'], rows)}"


def _distill(cells: Cells) -> str:
    quantities = ("receptive field", "effective stride", "effective padding")
    plain = cells.pop("torchvision's ResNet-50")
    text = DISTILL.format(resnet50=", ".join(plain[q][1] for q in quantities))
    head = ["network", *[cell for q in quantities for cell in (q, "computed")]]
    rows = [[name, *[c for q in quantities for c in (r[q][0], _marked(r[q]))]] for name, r in cells.items()]
    return f"{text}\n{_table(head, rows)}"


def _edits(cells: Cells) -> str:
    before, after = ("i_min before", "i_min_table7 before"), ("i_min after", "in front of layers")
    head = ["network", "before", "`i_min`", "`i_min_table7`", "after", "`i_min`", "in front"]
    rows = [
        [name, r[before[0]][0], *(_marked(r[q]) for q in before), r[after[0]][0], *(_marked(r[q]) for q in after)]
        for name, r in cells.items()
    ]
    for row in rows:  # the other rule is that of the printed numbers for CIFAR alone
        row[-1] = row[-1] if "CIFAR" in row[0] else ""
    return f"{EDITS}\n{_table(head, rows)}"


def _projection(cells: Cells) -> str:
    head = ["network", "field", "computed", "projected gradient", "computed, fresh weights"]
    field, gradient = "receptive field", "largest projected gradient"
    rows = [[name, r[field][0], _marked(r[field]), r[gradient][0], r[gradient][1]] for name, r in cells.items()]
    falls = {}
    for key, name in (("vgg", "VGG"), ("resnet", "ResNet50")):
        pairs = [r[gradient] for row, r in cells.items() if row.startswith(name)]
        for suffix, which in (("_printed", 0), ("", 1)):
            falls[key + suffix] = f"{float(pairs[0][which]) / float(pairs[-1][which]):.1f} times"
    return f"{PROJECTION.format(**falls)}\n{_table(head, rows)}"


def _exactness(lines: Sequence[dict[str, str]]) -> str:
    columns = ("layers", "positions", "regions", "shortest", "mismatches")
    totals = {column: sum(int(line[column]) for line in lines) for column in columns}
    return EXACTNESS.format(networks=len(lines), **totals)


def _speed(lines: Sequence[dict[str, str]]) -> str:
    ran = [line for line in lines if line["cpu_seconds"]]
    slowest = max(ran, key=lambda line: float(line["cpu_seconds"]))
    largest = max(ran, key=lambda line: float(line["megabytes"]))
    return SPEED.format(
        models=len(lines),
        failed=sum(bool(line["error"]) for line in lines),
        not_understood=sum(bool(line["not_understood"]) for line in lines),
        median=statistics.median(float(line["cpu_seconds"]) for line in ran),
        slowest=float(slowest["cpu_seconds"]),
        slowest_model=slowest["model"],
        megabytes=float(largest["megabytes"]),
        largest_model=largest["model"],
        machine=slowest["machine"],
        torch=slowest["torch"],
    )
