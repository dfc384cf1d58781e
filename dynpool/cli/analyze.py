"""dynpool analyze: the receptive fields of a model or of a run, printed and written to a folder."""

import argparse
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dynpool.training import ConfigError, check_folder, interruptible, writing

from .arguments import Parser, input_size, place
from .edits import find_edits
from .output import Output

if TYPE_CHECKING:
    from torch import nn

    from dynpool.analysis.comparison import Run
    from dynpool.analysis.fields import FieldReport

__all__ = ["analyze", "parser"]

PAGE = 150  # columns of the table if the output is not a terminal


def parser() -> Parser:
    """The parser of the command's options."""
    found = Parser(
        "analyze",
        "Receptive fields of all layers, and the layers that the input is too small for. Nothing is downloaded.",
    )
    found.add_argument(
        "model", nargs="?", metavar="MODEL",
        help="a model of timm or torchvision (torchvision:NAME if both have it), or package.module:callable",
    )  # fmt: skip
    found.add_argument(
        "--input-size", metavar="SIZE", type=input_size,
        help="32 | 32,64 (height, width) | 3,32,64 (channels, height, width) | 1:16000 (channels:any sizes)",
    )  # fmt: skip
    source = found.add_mutually_exclusive_group()
    source.add_argument(
        "--checkpoint", type=place, metavar="FILE", help="file with weights, and with learned sizes if there are any"
    )
    found.add_argument(
        "--prefix", default="", metavar="PREFIX",
        help='prefix of all names in the checkpoint, such as "model." with Lightning',
    )  # fmt: skip
    source.add_argument(
        "--edits",
        metavar="NAME|FILE",
        help="first apply a published edit, or those that dynpool refine --out wrote",
    )
    source.add_argument(
        "--run", type=place, metavar="FOLDER", help="a run folder: its learned model, and I_min per epoch"
    )
    found.add_argument(
        "--out", type=place, metavar="FOLDER", help="output folder; default: analyze-NAME, or RUN/analyze"
    )
    found.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="layers whose fields are drawn; --effective measures the first",
    )  # fmt: skip
    found.add_argument("--image", type=place, metavar="FILE", help="image on which receptive fields are drawn")
    found.add_argument(
        "--depth", type=int, metavar="N", help="print the modules down to N levels below the model, not the layers"
    )
    found.add_argument(
        "--columns", type=lambda text: text.split(","), metavar="NAME,NAME",
        help="columns of the printed table, such as input,output,macs,weights,activations,peak",
    )  # fmt: skip
    found.add_argument(
        "--effective", action="store_true", help="also measure the effective receptive field, by gradients"
    )
    found.add_argument("--svg", action="store_true", help="write the plots as SVG, too")
    return found


def analyze(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    options = parser().read(arguments)
    if options.run is None and (options.model is None or options.input_size is None):
        missing = "a MODEL, or --run FOLDER" if options.model is None else "--input-size, for example --input-size 32"
        raise ConfigError(f"dynpool analyze needs {missing}")
    if options.run is not None and options.model is not None:
        raise ConfigError(f"MODEL is {options.model!r}: omit it with --run, which determines the model")
    if options.prefix and options.checkpoint is None:
        raise ConfigError(f"--prefix is {options.prefix!r}: it requires --checkpoint")
    if options.out is not None:
        check_folder(options.out)
    from rich.console import Console

    from dynpool.analysis import receptive_field
    from dynpool.analysis.model_report import read_picture, write_analysis

    try:
        with interruptible():
            if options.image is not None:
                read_picture(options.image)
            name, model, input_size, run = _load(options)
            out = options.out or (
                options.run / "analyze" if options.run else Path(f"analyze-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}")
            )
            check_folder(out)
            report = receptive_field(model, input_size)
            _check_layers(report, options.layers)
            table = report.table(options.depth, options.columns)
            width = None if sys.stdout.isatty() else max(PAGE, table.width)
            console = Console(width=width, quiet=output.json)
            console.print(table)
            console.print("", *table.notes, sep="\n", highlight=False)
            console.print(f"\n{table.title}", highlight=False, style="bold")
            with writing(out, when_full="free some space"):
                files = write_analysis(
                    model, report, out, name=name, layers=options.layers, image=options.image,
                    effective=options.effective, run=run, vector=options.svg,
                )  # fmt: skip
    except (ValueError, TypeError, FileNotFoundError, ModuleNotFoundError) as error:
        raise ConfigError(str(error)) from error
    output.notice(f"written to {out}: {', '.join(file.name for file in files)}")
    output.document(
        lambda: {
            "model": name, "verdict": table.title, **report.to_dict(), "folder": str(out),
            "files": [file.name for file in files],
        }
    )  # fmt: skip
    return 0


def _check_layers(report: "FieldReport", layers: list[str] | None) -> None:
    """Raise ConfigError for layers that the report does not have, before anything is printed."""
    from dynpool.analysis.model_report import chosen_layers

    try:
        chosen_layers(report, layers)
    except ValueError as error:
        raise ConfigError(f"--{error}") from error


def _load(options: argparse.Namespace) -> "tuple[str, nn.Module, tuple[int, ...], Run | None]":
    """(name, model, input size, run that the model comes from or None)."""
    if options.run is not None:
        from dynpool.analysis.comparison import read_run
        from dynpool.training import restored_model

        run = read_run(options.run)
        model, trained_at = restored_model(options.run)
        size = options.input_size or trained_at
        if len(size) == len(trained_at) and size[0] == 3:  # as if no channels were given
            size = (trained_at[0], *size[1:])
        if tuple(size) != tuple(trained_at):
            said = "x".join(map(str, trained_at))
            then = f"the run was trained at {said}: its pictures over time (alphas, sizes, i_min) are at that size"
            warnings.warn(then, stacklevel=2)
        return run.label, model, size, run
    from .named import with_checkpoint

    if options.checkpoint is not None:
        name, model = with_checkpoint(options.model, options.input_size, options.checkpoint, options.prefix)
        return name, model, options.input_size, None
    from dynpool.analysis.integrations import named_model
    from dynpool.baselines import refine

    name, model = named_model(options.model, options.input_size, weights=options.effective)
    if options.edits is not None:
        model, _ = refine(model, options.input_size, edits=find_edits(options.edits))
    return name, model, options.input_size, None
