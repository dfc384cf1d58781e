"""Sweeps over one model of every family of timm and all models of torchvision, one CSV row at a time."""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import timm
import torchvision
from torch import nn

from dynpool.conversion.coverage import build_model

__all__ = ["built", "names", "sweep"]

MOST_PARAMETERS = 60_000_000


def names() -> Iterator[str]:
    """The first model of every family of timm by name, and all of torchvision."""
    families: dict[str, str] = {}
    for name in timm.list_models():
        families.setdefault(timm.models._registry._model_to_module[name], name)
    yield from (f"timm:{name}" for name in families.values())
    yield from (f"torchvision:{name}" for name in torchvision.models.list_models())


def built(name: str) -> tuple[tuple[int, ...], nn.Module | None]:
    """A model with its input size; None instead of the model if it is too large or cannot be built."""
    try:
        model, size = build_model(name, "meta")
        if sum(p.numel() for p in model.parameters()) > MOST_PARAMETERS:
            return size, None
        model, size = build_model(name, "cpu")
    except (ImportError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return (), None
    return size, model


def sweep(
    description: str | None,
    columns: Sequence[str],
    results: Path,
    rows_of: Callable[[str, nn.Module, tuple[int, ...]], Iterable[dict[str, Any]]],
) -> None:
    """Append the rows of every model to a CSV file; models that have rows in it are passed over.

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
    done: set[str] = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            known = csv.DictReader(file)
            if known.fieldnames != list(columns):
                parser.error(f"--out {options.out} has other columns: remove it, or name another file")
            done = {row["model"] for row in known}
    with options.out.open("a", newline="") as file:
        rows = csv.DictWriter(file, columns)
        if not done:
            rows.writeheader()
        for name in options.names or names():
            size, model = ((), None) if name in done else built(name)
            if model is None:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = [{"model": name, **row} for row in rows_of(name, model, size)]
            rows.writerows(found)  # of a model all or none, so that a sweep that was stopped goes on
            file.flush()
