"""The columns of a report's tables: their headings, texts and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..common.axis_names import one_or_all
from ..common.statistics import format_field
from .parts import Part

__all__ = ["COLUMNS", "LAYER_COLUMNS", "MODULE_COLUMNS", "OPERATOR_COLUMNS", "Column", "chosen_columns", "format_bytes"]


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        show: the text of a cell.
        value: its value as data; None where there is none, a sequence with one entry per axis if `per_axis`.
        heading: the text above it, if that is not the column's name.
        left: whether it is aligned to the left.
    """

    show: Callable[[Part], str]
    value: Callable[[Part], Any]
    heading: str = ""
    per_axis: bool = False
    left: bool = False


def format_bytes(count: int) -> str:
    """Bytes in units of 1000, with three digits: '64 B', '12.3 kB', '1.02 GB'.

    Example:
        >>> format_bytes(64), format_bytes(12_345), format_bytes(999_900), format_bytes(1_020_000_000)
        ('64 B', '12.3 kB', '1.00 MB', '1.02 GB')
    """
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    if units[0] == "B":
        return f"{count} B" if count else "0"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {units[0]}"


def _per_axis(values: Sequence[float]) -> str:
    return one_or_all(tuple(map(format_field, values))) if values else ""


def _of_layer(name: str, heading: str = "") -> Column:
    def value(part: Part) -> Any:
        return getattr(part.layer, name, ())

    return Column(lambda part: _per_axis(value(part)), value, heading, per_axis=True)


def _field(name: str) -> Column:
    def value(part: Part) -> Any:
        return getattr(part, name)

    return Column(lambda part: _per_axis(value(part)), value, per_axis=True)


def _shape(name: str) -> Column:
    def text(part: Part) -> str:
        return "x".join(map(str, (getattr(part, name) or ())[1:]))

    return Column(text, lambda part: text(part) or None)


def _number(name: str, show: Callable[[int], str], heading: str = "") -> Column:
    return Column(lambda part: show(getattr(part, name)), lambda part: getattr(part, name), heading)


def _r_max(part: Part) -> str:
    return _per_axis(part.r_max_local) + "*" * (part.r_max != part.r_max_local) + "~" * part.varies


def _commas(count: int) -> str:
    return f"{count:,}"


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "kind": Column(lambda part: part.kind, lambda part: part.kind, left=True),
        "calls": _number("calls", str),
        "kernel": _of_layer("kernel"),
        "stride": _of_layer("stride"),
        "r_min": _field("r_min"),
        "r_max": Column(_r_max, lambda part: part.r_max, per_axis=True),
        "r_max_local": _field("r_max_local"),
        "varies": Column(lambda part: "yes" if part.varies else "", lambda part: part.varies),
        "effective_stride": _of_layer("effective_stride", "S"),
        "effective_padding": _of_layer("effective_padding", "P"),
        "centre": _of_layer("centre"),
        "input": _shape("input"),
        "output": _shape("output"),
        "macs": _number("macs", _commas, "MACs"),
        "parameters": _number("parameters", _commas),
        "weights": _number("weights", format_bytes),
        "activations": _number("activations", format_bytes),
        "peak": _number("peak", format_bytes),
        "aligned": Column(
            lambda part: "" if part.layer is None else "yes" if part.layer.aligned else "no",
            lambda part: None if part.layer is None else part.layer.aligned,
        ),
    }
)
LAYER_COLUMNS = ("kind", "kernel", "stride", "r_min", "r_max", "effective_stride", "output", "macs", "parameters")
MODULE_COLUMNS = ("kind", "input", "output", "r_min", "r_max", "macs", "parameters", "activations")
OPERATOR_COLUMNS = ("calls", "macs", "activations", "peak")


def chosen_columns(columns: Sequence[str] | None, default: Sequence[str]) -> dict[str, Column]:
    """The columns of these names.

    Raises:
        ValueError: for an unknown name.
    """
    names = default if columns is None else [columns] if isinstance(columns, str) else columns
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"columns: unknown column {unknown[0]!r}; allowed: {', '.join(COLUMNS)}")
    return {name: COLUMNS[name] for name in names}
