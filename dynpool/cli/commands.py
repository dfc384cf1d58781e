"""The command line: dynpool train | compare | report | analyze | inspect | sensitivity | coverage | refine."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import dynpool
from dynpool.common.extras import EXTRAS, optional
from dynpool.common.names import nearest
from dynpool.training import (
    INTERRUPTED,
    STOPPED,
    ConfigError,
    StoppedError,
    TrainingError,
    check_file,
    check_folder,
    interruptible,
    writing,
)

from .arguments import Parser, pixels, place, seconds

if TYPE_CHECKING:
    from dynpool.conversion import CoverageRow

__all__ = ["run"]

USAGE = """usage: dynpool COMMAND ...

  train CONFIG [--resume | --overwrite] [--KEY VALUE ...]    train one run
  compare CONFIG [--resume | --overwrite] [--KEY VALUE ...]  train every method with every seed, and report
  report RUN... [--out DIR]                                  report of runs or of a comparison
  analyze MODEL --input-size 32 [--checkpoint FILE]          receptive fields of a model: table, verdict, plots
  analyze --run FOLDER                                       the same for a run's learned model, with I_min per epoch
  inspect RUN... [--pruning --hessian --cka]                 which layers of trained networks work: probes, saturation
  inspect --checkpoint FILE MODEL DATA_FOLDER                the same for a model by name and a folder of images
  sensitivity --run FOLDER [--split test]                    the loss at a few pixels more or less of each learned size
  coverage [--models PATTERN] [--out CSV]                    try conversion on the models of timm and torchvision
  refine MODEL --input-size 32 [--out plan.json]             edits of a model that bring I_min below the input size

dynpool COMMAND --help lists the options of a command, dynpool --version prints the version."""

USER_ERROR = 2

# Commands import their modules after parsing arguments, so that help and errors are fast.


def _config_path(arguments: list[str], command: str) -> Path:
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError(f"dynpool {command} needs a configuration file: dynpool {command} CONFIG [--KEY VALUE ...]")
    return Path(arguments.pop(0))


def _ended(error: KeyboardInterrupt | StoppedError, saved: str, command: str, config_file: Path, folder: Path) -> int:
    """Print what is saved of an interrupted run or comparison and how to continue it; returns the exit code."""
    interrupted = isinstance(error, KeyboardInterrupt)
    words = ["dynpool", command, str(config_file), "--out", str(folder), "--resume"]
    hint = f"; continue with: {shlex.join(words)}" if config_file.exists() else ""
    said = f"interrupted; {str(error) or saved}" if interrupted else str(error)
    print(f"dynpool: {said}{hint}", file=sys.stderr)
    return INTERRUPTED if interrupted else STOPPED


def _train(arguments: list[str]) -> int:
    from dynpool.training import RunConfig, load_config, make_parser

    if {"-h", "--help"} & set(arguments):
        make_parser(RunConfig, "train").print_help()
        return 0
    config, flags = load_config(RunConfig, _config_path(arguments, "train"), arguments, command="train")
    from dynpool.training import RunFolder, final_line, reporting, tell, train

    folder = RunFolder(config.folder)
    try:
        with interruptible(), reporting(json_lines=flags["json_lines"]) as reporter:
            figures = train(config, resume=flags["resume"], overwrite=flags["overwrite"], reporter=reporter)
    except (KeyboardInterrupt, StoppedError) as error:
        saved = "the finished epochs are saved" if folder.started else "nothing had been trained yet"
        return _ended(error, saved, "train", folder.config, folder.path)
    except TrainingError as error:
        if flags["json_lines"]:
            tell("error", message=str(error))
        raise
    if figures and flags["json_lines"]:
        tell("end", figures=dict(figures), folder=str(folder.path))
    elif figures:
        print(final_line(figures, str(folder.path)))
    return 0


def _compare(arguments: list[str]) -> int:
    from dynpool.training import ComparisonConfig, load_config, make_parser

    if {"-h", "--help"} & set(arguments):
        make_parser(ComparisonConfig, "compare").print_help()
        return 0
    config, flags = load_config(ComparisonConfig, _config_path(arguments, "compare"), arguments, command="compare")
    from dynpool.training import compare

    try:
        with interruptible():
            compare(config, resume=flags["resume"], overwrite=flags["overwrite"])
    except (KeyboardInterrupt, StoppedError) as error:
        saved = "the finished epochs of all runs are saved"
        return _ended(error, saved, "compare", config.folder / "comparison.yaml", config.folder)
    return 0


def _report(arguments: list[str]) -> int:
    parser = Parser("report", "Write report.html, summary.csv and plots of trained runs.")
    parser.add_argument("runs", nargs="+", type=place, metavar="RUN", help="folder of a run or of a comparison")
    parser.add_argument(
        "--out", type=place, metavar="FOLDER", help="output folder; default: RUN if there is only one, else report/"
    )
    options = parser.read(arguments)
    out = options.out or (options.runs[0] if len(options.runs) == 1 else Path("report"))
    if options.out is not None or len(options.runs) > 1 or out.is_dir():
        check_folder(out)
    from dynpool.analysis.comparison import compare_runs, write_report

    try:
        with interruptible():
            comparison = compare_runs(options.runs)
            with writing(out, when_full="free some space"):
                path = write_report(comparison, out)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    print(comparison)
    print(f"report: {path}")
    return 0


def _coverage(arguments: list[str]) -> int:
    import warnings

    parser = Parser("coverage", "Convert the models of timm and torchvision, and run them at random sizes.")
    parser.add_argument(
        "--models", nargs="+", metavar="PATTERN", help="such as 'resnet*', 'torchvision:*'; default: all"
    )
    parser.add_argument(
        "--out", type=place, default=Path("coverage.csv"), metavar="CSV", help="output file; existing rows are kept"
    )
    parser.add_argument(
        "--input-size", type=pixels, metavar="PIXELS", help="input size of all models; default: each one's own"
    )
    parser.add_argument("--limit", type=seconds, default=120.0, metavar="SECONDS", help="time limit per model")
    parser.add_argument(
        "--real",
        action="store_true",
        help="use random weights and images, and check outputs and gradients; default: 43 small models",
    )
    options = parser.read(arguments)
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
            rows = run_coverage(names, options.out, input_size=size, limit=options.limit, device=device, say=_say_row)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    print(summarize(rows))
    return 0


def _say_row(row: "CoverageRow") -> None:
    counts = f"{row.converted} converted, {row.tied} tied, {row.follows} follow, {row.pinned} pinned"
    said = row.message or (counts if row.status == "runs" else row.why)
    print(f"{row.model}  {row.status}  {said}", flush=True)


def _analyze(arguments: list[str]) -> int:
    from .analyze import analyze

    return analyze(arguments)


def _inspect(arguments: list[str]) -> int:
    from .inspect import inspect

    return inspect(arguments)


def _sensitivity(arguments: list[str]) -> int:
    from .sensitivity import sensitivity

    return sensitivity(arguments)


def _refine(arguments: list[str]) -> int:
    from .refine import refine

    return refine(arguments)


COMMANDS: Mapping[str, Callable[[list[str]], int]] = MappingProxyType(
    {
        "train": _train,
        "compare": _compare,
        "report": _report,
        "analyze": _analyze,
        "inspect": _inspect,
        "sensitivity": _sensitivity,
        "coverage": _coverage,
        "refine": _refine,
    }
)


OF_MODELS = ("train", "compare", "analyze", "inspect", "sensitivity", "refine")  # which may be modules of the user's


def run(argv: Sequence[str] | None) -> int:
    """Run a command, as `dynpool.cli.main` says; gives the exit code."""
    try:
        with optional():
            code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output is gone; training has been saved
        _discard_output()
        return USER_ERROR
    except (TrainingError, OSError) as error:
        if isinstance(error, OSError):
            _discard_output()  # stdout itself may be unwritable
        print(f"dynpool: error: {error}", file=sys.stderr)
        return USER_ERROR
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        print(f"dynpool: error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt as error:
        print(f"dynpool: interrupted{f'; {error}' if str(error) else ''}", file=sys.stderr)
        return INTERRUPTED
    return code


def _run(arguments: list[str]) -> int:
    command = arguments.pop(0) if arguments else "--help"
    if command in ("-h", "--help"):
        print(USAGE)
    elif command == "--version":
        print(f"dynpool {dynpool.__version__}")
    elif command in COMMANDS:
        import logging
        import warnings

        if command in OF_MODELS and "" not in sys.path:  # an installed program does not search the working directory
            sys.path.insert(0, "")
        logging.basicConfig(level=logging.WARNING, format="dynpool: %(message)s")
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            return COMMANDS[command](arguments)
    else:
        raise ConfigError(f"unknown command {command!r}{nearest(command, [*COMMANDS, '--help', '--version'])}")
    return 0


def _say_warning(message: Warning | str, *where: object, **options: object) -> None:
    """Print a warning in one line, without the place in the code."""
    print(f"dynpool: {' '.join(str(message).split())}", file=sys.stderr)


def _discard_output() -> None:
    """Discard buffered output: Python would try to write it again on exit and print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
