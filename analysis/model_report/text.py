"""A receptive-field report as a sentence and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dynpool.common.arguments import is_whole

from ..common.axis_names import one_or_all
from ..common.colors import UNPRODUCTIVE
from ..common.statistics import format_field, plural
from ..fields import GLOBAL_PATH
from .columns import LAYER_COLUMNS, MODULE_COLUMNS, OPERATOR_COLUMNS, Column, chosen_columns, format_bytes
from .parts import Part, layer_parts, module_parts, operator_parts, unlisted
from .plots.marks import marks
from .report_table import ReportTable

if TYPE_CHECKING:
    from ..fields import FieldReport

__all__ = ["layer_table", "module_table", "operator_table", "verdict"]

FIELDS = ("r_min", "r_max", "r_max_local")  # columns


def verdict(report: FieldReport) -> str:
    """The report in one sentence: '9 of 16 convolutions are unproductive at 32 pixels: 61 % of parameters, ...'."""
    size = one_or_all(tuple(map(str, report.input_size[1:])))
    marked = [mark for row, mark in zip(report.layers, marks(report), strict=True) if row.kind == "convolution"]
    unproductive = marked.count(UNPRODUCTIVE)
    convolutions = f"{len(marked)} convolution{'' if len(marked) == 1 else 's'}"
    if not marked:
        said = "no layer is a convolution with a local receptive field"
    elif not unproductive:
        i_min = one_or_all(tuple(map(format_field, report.i_min)))
        every = "the only convolution is" if len(marked) == 1 else f"all {convolutions} are"
        said = f"{every} productive at {size} pixels (I_min {i_min})"
        others = sum(mark == UNPRODUCTIVE for mark in marks(report))
        if others:
            said += f", {others} other layer{'' if others == 1 else 's'} {'is' if others == 1 else 'are'} not"
    else:
        parts = [
            f"{100 * spent / total:.0f} % of {word}"
            for word, spent, total in (
                ("parameters", report.unproductive_parameters, report.total_parameters),
                (f"MACs{report.cost.without}", report.unproductive_macs, report.total_macs),
            )
            if total
        ]
        said = (
            f"{unproductive} of {convolutions} {'is' if unproductive == 1 else 'are'} unproductive at {size} pixels: "
        )
        said += ", ".join(parts)
    if report.behind_global:
        more = len(report.behind_global)
        said += f"; {more} more {'is' if more == 1 else 'are'} behind a global operation and not counted"
    if report.not_understood:
        said += f"; unreliable, as there is no rule for {', '.join(sorted(report.not_understood))}"
    return said[0].upper() + said[1:]


def layer_table(report: FieldReport, columns: Sequence[str] | None = None) -> ReportTable:
    """The layers of a report as a table, unproductive ones and underutilized ones marked."""
    return _table("layer", chosen_columns(columns, LAYER_COLUMNS), layer_parts(report), report)


def module_table(report: FieldReport, depth: int, columns: Sequence[str] | None = None) -> ReportTable:
    """The model and its modules down to `depth` levels as a table."""
    if not is_whole(depth) or depth < 0:
        raise ValueError(f"depth must be an int of at least 0, got {depth!r}")
    parts = module_parts(report, depth)
    parts[0].name = parts[0].kind
    return _table("module", chosen_columns(columns, MODULE_COLUMNS), parts, report)


def operator_table(report: FieldReport) -> ReportTable:
    """All operations that ran, by kind, as a table."""
    return _table("operator", chosen_columns(None, OPERATOR_COLUMNS), operator_parts(report), report)


def _table(first: str, columns: Mapping[str, Column], parts: list[Part], report: FieldReport) -> ReportTable:
    notes = (*_fields(report, columns), *_totals(report, first), *_legend(first, columns, parts), *report.notes)
    return ReportTable(first, columns, tuple(parts), len(report.input_size) - 1, verdict(report), notes)


def _fields(report: FieldReport, columns: Mapping[str, Column]) -> Iterator[str]:
    """What the report says of fields as a whole."""
    if columns.keys().isdisjoint(FIELDS):
        return
    yield (
        f"I_min {_pair(report.i_min)} (Table 7's rule: {_pair(report.i_min_table7)}), I_max {_pair(report.i_max_local)}"
        f"{'*' * (report.i_max != report.i_max_local)}, I_res {_pair(report.input_size[1:])}"
    )
    border = f"; border layer {report.border_layer}" if report.border_layer is not None else ""
    yield (
        f"of {plural(len(report.layers), 'layer')} {len(report.unproductive)} unproductive, "
        f"{len(report.underutilized)} underutilized{border}"
    )
    if report.behind_global:
        yield f"behind a global operation, not counted: {len(report.behind_global)} that see the whole image"
    if not report.aligned:
        yield "not aligned: paths of different effective stride or centre meet"
    if report.not_understood:
        names = ", ".join(f"{op} x{n}" for op, n in sorted(report.not_understood.items()))
        yield f"operations without a rule: {names}"


def _totals(report: FieldReport, first: str) -> Iterator[str]:
    """What the model costs in all."""
    trained = report.trainable_parameters
    yield (
        f"in all {report.total_parameters:,} parameters"
        f"{'' if trained == report.total_parameters else f' ({trained:,} trainable)'}"
        f", {report.total_macs:,} MACs{report.cost.without}"
    )
    at = report.memory.peak_at
    where = "" if at is None else f" in {report.graph.nodes[at].path or 'the model itself'}"
    batch = report.graph.batch
    yield (
        f"weights {format_bytes(report.weight_bytes)}, activations up to {format_bytes(report.memory.peak)}{where}, "
        f"for {plural(batch, 'image')}"
    )
    if first == "layer":
        found = unlisted(report)
        kinds = [
            f"{plural(count, kind)} ({_share(macs, report.total_macs)} of MACs)" if macs else plural(count, kind)
            for kind, (count, macs) in found.items()
        ]
        if kinds:
            yield f"not in the table, as they have no window: {', '.join(kinds)}"


def _legend(first: str, columns: Mapping[str, Column], parts: list[Part]) -> Iterator[str]:
    """What signs and short words of the table mean."""
    fields = not columns.keys().isdisjoint(FIELDS)
    words = ["S: effective stride, the product of all strides so far"] * ("effective_stride" in columns)
    words += ["P: effective padding"] * ("effective_padding" in columns) + ["I_res: size of the input"] * fields
    if words:
        yield "; ".join(words)
    if fields:
        yield "Table 7's rule: the largest max(r_min, kernel · S), as Table 7 of Richter and Pal has it"
    if first == "module" and fields:
        yield "r_min and r_max of a module: the largest of the layers in it"
    if "r_max" in columns and any(part.r_max != part.r_max_local for part in parts):
        yield f"* {GLOBAL_PATH}"
    if "r_max" in columns and any(part.varies for part in parts):
        yield "~ positions differ in what they see: report.seen(layer, position) tells it exactly"


def _share(part: int, total: int) -> str:
    return f"{100 * part / total:.0f} %" if 200 * part >= total else "< 1 %"


def _pair(values: Sequence[float]) -> str:
    return one_or_all(tuple(map(format_field, values)))
