"""dynpool coverage: conversion tried on the models of timm and torchvision."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dynpool.common.names import nearest
from dynpool.training import ConfigError, check_file, interruptible, writing

from .arguments import Parser, pixels, place, seconds
from .output import Output

if TYPE_CHECKING:
    from dynpool.conversion import CoverageRow

__all__ = ["coverage", "parser"]


def parser() -> Parser:
    """The parser of the command's options."""
    found = Parser("coverage", "Convert the models of timm and torchvision, and run them at random sizes.")
    add = found.add_argument
    add("--models", nargs="+", metavar="PATTERN", help="such as 'resnet*', 'torchvision:*'; default: all")
    add(
        "--out", type=place, default=Path("coverage.csv"), metavar="CSV", help="output file; existing rows are kept"
    )  # fmt: skip
    add("--input-size", type=pixels, metavar="PIXELS", help="input size of all models; default: each one's own")
    add("--limit", type=seconds, default=120.0, metavar="SECONDS", help="time limit per model")
    add(
        "--real", action="store_true",
        help="use random weights and images, and check outputs and gradients; default: 43 small models",
    )  # fmt: skip
    return found


def coverage(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    options = parser().read(arguments)
    check_file(options.out, parents=True)
    from dynpool.common.library_models import LISTING
    from dynpool.conversion import SPOT_CHECKS, coverage_names, run_coverage, summarize

    for pattern in options.models or ():
        if not coverage_names(pattern):
            known = (name if ":" in pattern else name.partition(":")[2] for name in coverage_names())
            said = nearest(pattern, known, listing=LISTING)
            raise ConfigError(f"--models {pattern!r} matches no model of timm or torchvision{said}")
    names = [*SPOT_CHECKS] if options.real and not options.models else coverage_names(*options.models or "*")
    size = None if options.input_size is None else (3, options.input_size, options.input_size)
    device = "cpu" if options.real else "meta"
    try:
        with interruptible(), writing(options.out, when_full="free some space"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # raised by the models
            rows = run_coverage(
                names, options.out, input_size=size, limit=options.limit, device=device,
                say=lambda row: output.notice(_said(row)),
            )  # fmt: skip
    except ValueError as error:
        raise ConfigError(str(error)) from error
    output.text(summarize(rows))
    output.document(lambda: {"summary": summarize(rows), "rows": [asdict(r) for r in rows], "file": str(options.out)})
    return 0


def _said(row: "CoverageRow") -> str:
    """A row as a line of text."""
    counts = f"{row.converted} converted, {row.tied} tied, {row.follows} follow, {row.pinned} pinned"
    return f"{row.model}  {row.status}  {row.message or (counts if row.status == 'runs' else row.why)}"
