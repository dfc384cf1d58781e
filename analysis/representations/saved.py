"""Reads reports from the JSON files that they were written to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .heatmaps import HeatMap
from .hessian_report import HessianSpectrum
from .probes import Probe
from .pruning_report import PruningReport, PruningRow
from .report import InspectionReport
from .row import InspectionRow
from .saturation import Saturation
from .similarity_report import CKAReport
from .tail import Border, Tail

__all__ = ["read_pruning", "read_report", "read_similarity", "read_spectrum"]

T = TypeVar("T")


def read_report(path: str | os.PathLike[str]) -> InspectionReport:
    """The report that `InspectionReport.write` wrote to this file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file does not hold a report; the message names it.
    """
    return _read(path, "inspect", _inspection)


def read_pruning(path: str | os.PathLike[str]) -> PruningReport:
    """The report that `PruningReport.write` wrote to this file; errors are those of `read_report`."""

    def made(data: Any) -> PruningReport:
        rows = tuple(PruningRow(**{**row, "score": float(row["score"])}) for row in data["rows"])
        return PruningReport(data["model"], float(data["dense"]), rows, tuple(data["notices"]))

    return _read(path, "pruning_curve", made)


def read_spectrum(path: str | os.PathLike[str]) -> HessianSpectrum:
    """The report that `HessianSpectrum.write` wrote to this file; errors are those of `read_report`."""

    def made(data: Any) -> HessianSpectrum:
        values = {key: value for key, value in data.items() if key != "negative"}
        return HessianSpectrum(**{**values, **{key: tuple(values[key]) for key in ("eigenvalues", "notices")}})

    return _read(path, "hessian_eigenvalues", made)


def read_similarity(path: str | os.PathLike[str]) -> CKAReport:
    """The report that `CKAReport.write` wrote to this file; errors are those of `read_report`."""

    def made(data: Any) -> CKAReport:
        values = {key: value for key, value in data.items() if key != "verdict"}
        tuples = ("input_size", "layers_a", "layers_b", "notices")
        matrix = tuple(tuple(map(float, row)) for row in values["values"])  # NaN is a string
        return CKAReport(**{**values, "values": matrix, **{key: tuple(values[key]) for key in tuples}})

    return _read(path, "cka", made)


def _read(path: str | os.PathLike[str], what: str, made: Callable[[Any], T]) -> T:
    text = Path(path).read_bytes()
    try:
        return made(json.loads(text))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(path)} does not hold a report of {what} ({type(error).__name__}: {error})"
        ) from None


def _inspection(data: Any) -> InspectionReport:
    rows = tuple(_row(row, data["test_images"]) for row in data["rows"])
    return InspectionReport(
        model=data["model"],
        input_size=tuple(data["input_size"]),
        train_images=data["train_images"],
        test_images=data["test_images"],
        probe_images=data["probe_images"],
        accuracy=data["accuracy"],
        threshold=data["threshold"],
        rows=rows,
        tail=_tail(data["tail"], rows),
        border=_border(data["border"]),
        heatmaps=tuple(map(_heat_map, data["heatmaps"])),
        notices=tuple(data["notices"]),
    )


def _row(row: Mapping[str, Any], held_out: int) -> InspectionRow:
    probe = saturation = None
    if row["probe_accuracy"] is not None:
        probe = Probe(row["probe_accuracy"], held_out, row["probe_converged"], row["probe_iterations"])
    if row["saturation"] is not None:
        saturation = Saturation(row["directions"], row["directions_needed"], row["channels"])
    return InspectionRow(
        name=row["name"],
        kind=row["kind"],
        size=tuple(row["size"]),
        channels=row["channels"],
        r_min_in=_numbers(row["r_min_in"]),
        r_max_in=_numbers(row["r_max_in"]),
        r_min=_numbers(row["r_min"]),
        r_max_local=_numbers(row["r_max_local"]),
        unproductive=row["unproductive"],
        probe=probe,
        relative=row["relative"],
        saturation=saturation,
        samples=row["samples"],
    )


def _numbers(values: Sequence[Any] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))  # infinite ones are strings


def _border(data: Mapping[str, Any]) -> Border:
    return Border(data["r_min"], tuple(data["r_min_by_axis"]), data["r_max"], tuple(data["r_max_by_axis"]))


def _tail(data: Mapping[str, Any], rows: Sequence[InspectionRow]) -> Tail:
    return Tail(
        layers=tuple(data["layers"]),
        solved=data["solved"],
        low_saturation=data["low_saturation"],
        has_saturation=any(row.saturation is not None for row in rows),
        tolerance=data["tolerance"],
        low=data["low"],
    )


def _heat_map(data: Mapping[str, Any]) -> HeatMap:
    accuracy = tuple(tuple(row) for row in data["accuracy"])
    return HeatMap(data["name"], tuple(data["size"]), accuracy, data["converged"])
