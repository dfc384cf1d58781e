"""The command line: dynpool train | compare | report."""

import argparse
import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import dynpool
from analysis.report import compare_runs, write_report
from dynpool.training.compare import compare
from dynpool.training.config import ComparisonConfig, RunConfig, load_config, make_parser, nearest
from dynpool.training.errors import ConfigError, TrainingError, writing
from dynpool.training.loop import train
from dynpool.training.progress import reporting
from dynpool.training.run_folder import RunFolder

__all__ = ["main"]

USAGE = """usage: dynpool COMMAND ...

  train CONFIG [--resume | --overwrite] [--KEY VALUE ...]    train one run
  compare CONFIG [--resume | --overwrite] [--KEY VALUE ...]  train methods x seeds, then write the report
  report RUN... [--out DIR]                                  write the report of runs or of a comparison's folder

dynpool COMMAND --help lists the options of a command, dynpool --version prints the version."""

INTERRUPTED = 130  # what a shell expects of a program ended by Ctrl-C
USER_ERROR = 2


def _config_path(arguments: list[str], command: str) -> Path:
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError(f"dynpool {command} needs a configuration file: dynpool {command} CONFIG [--KEY VALUE ...]")
    return Path(arguments.pop(0))


def _resume_hint(command: str, config_file: Path, folder: Path) -> str:
    words = ["dynpool", command, str(config_file), "--out", str(folder), "--resume"]
    return f"continue with: {shlex.join(words)}"


def _train(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        make_parser(RunConfig, "train").print_help()
        return 0
    config, flags = load_config(RunConfig, _config_path(arguments, "train"), arguments, command="train")
    folder = RunFolder(config.folder)
    try:
        with reporting() as reporter:
            figures = train(config, resume=flags["resume"], overwrite=flags["overwrite"], reporter=reporter)
    except KeyboardInterrupt:
        saved = "the finished epochs are saved" if folder.started else "nothing had been trained yet"
        hint = "; " + _resume_hint("train", folder.config, folder.path) if folder.started else ""
        print(f"dynpool: interrupted; {saved}{hint}", file=sys.stderr)
        return INTERRUPTED
    if figures:
        said = f"test accuracy {figures['test_accuracy']:.4f}  {figures['gmacs']:.4g} GMACs"
        print(f"{figures['name']}  {said}  {folder.path}")
    return 0


def _compare(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        make_parser(ComparisonConfig, "compare").print_help()
        return 0
    config, flags = load_config(ComparisonConfig, _config_path(arguments, "compare"), arguments, command="compare")
    try:
        compare(config, resume=flags["resume"], overwrite=flags["overwrite"])
    except KeyboardInterrupt:
        hint = _resume_hint("compare", config.folder / "comparison.yaml", config.folder)
        print(f"dynpool: interrupted; the finished epochs of all runs are saved; {hint}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _report(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dynpool report", description="Write report.html, summary.csv and the pictures."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or a comparison's")
    parser.add_argument(
        "--out", type=Path, help="where to; default: the folder itself if it is the only one, else report/"
    )
    options = parser.parse_args(arguments)
    out = options.out or (options.runs[0] if len(options.runs) == 1 else Path("report"))
    try:
        comparison = compare_runs(options.runs)
        with writing(out):
            path = write_report(options.runs, out)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    print(comparison)
    print(f"report: {path}")
    return 0


COMMANDS: Mapping[str, Callable[[list[str]], int]] = MappingProxyType(
    {"train": _train, "compare": _compare, "report": _report}
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code.

    0: done. 2: something the user can correct, said in one line on stderr. 130: interrupted by Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="dynpool: %(message)s")
    command = arguments.pop(0) if arguments else "--help"
    try:
        if command in ("-h", "--help"):
            print(USAGE)
        elif command == "--version":
            print(f"dynpool {dynpool.__version__}")
        elif command in COMMANDS:
            return COMMANDS[command](arguments)
        else:
            raise ConfigError(f"unknown command {command!r}{nearest(command, COMMANDS)}")
    except TrainingError as error:
        print(f"dynpool: error: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:  # the reader of our output is gone; what was trained is saved
        sys.stderr.close()
        return USER_ERROR
    except KeyboardInterrupt:
        print("dynpool: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
