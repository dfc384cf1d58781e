"""Sweeps over one model of every family of timm and all models of torchvision, one CSV row at a time."""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import timm
import torchvision
from torch import nn

from benchmarks.appending import append, check_columns
from dynpool.conversion.coverage import build_model

__all__ = ["BUILD_ERRORS", "sweep"]

ENOUGH_PARAMETERS = 60_000_000
BUILD_ERRORS = (ImportError, RuntimeError, TypeError, ValueError)
MOST_PARAMETERS = 700_000_000  # weights, gradients and copies of such a model fit into 16 GB


def _families() -> Iterator[list[str]]:
    """The names of each family of timm, of which one is enough, and of each model of torchvision."""
    families: dict[str, list[str]] = {}
    for name in timm.list_models():
        families.setdefault(timm.models._registry._model_to_module[name], []).append(f"timm:{name}")
    yield from families.values()
    yield from ([f"torchvision:{name}"] for name in torchvision.models.list_models())


def _built(family: Sequence[str]) -> tuple[str, nn.Module, tuple[int, ...]] | str:
    """A family's first model with few parameters, or else its smallest, with name and input size; or why none."""
    counts: dict[str, int] = {}
    why = ""
    for name in family:
        try:
            counts[name] = sum(p.numel() for p in build_model(name, "meta")[0].parameters())
        except BUILD_ERRORS as error:
            why = f"{type(error).__name__}: {error}"
            continue
        if counts[name] <= ENOUGH_PARAMETERS:
            break
    for name in sorted(counts, key=lambda name: counts[name]):
        if counts[name] > MOST_PARAMETERS:
            why = f"{counts[name]:,} parameters"
            break
        try:
            return name, *build_model(name, "cpu")
        except BUILD_ERRORS as error:
            why = f"{type(error).__name__}: {error}"
    return why


def sweep(
    description: str | None,
    columns: Sequence[str],
    results: Path,
    rows_of: Callable[[str, nn.Module, tuple[int, ...]], Iterable[dict[str, Any]]],
) -> None:
    """Append rows to a CSV file: of a small model of each family of timm, and of all of torchvision's.

    Families that have rows in the file are passed over.

    Args:
        description: the help text.
        columns: of the file; "model" is the first.
        results: the file, unless the option --out names another.
        rows_of: yields the rows of a model by its name, the model and its own input size.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=results)
    options = parser.parse_args()
    check_columns(options.out, columns)
    done: set[str] = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {row["model"] for row in csv.DictReader(file)}
    for family in [[name] for name in options.names] or _families():
        if done.intersection(family):
            continue
        built = _built(family)
        if isinstance(built, str):
            print(f"{family[-1]} is passed over: {built}", file=sys.stderr)
            continue
        name, model, size = built
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [{"model": name, **row} for row in rows_of(name, model, size)]
        append(options.out, columns, found)  # of a model all or none, so that a sweep that was stopped goes on
