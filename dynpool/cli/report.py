"""dynpool report: the tables and the page of trained runs."""

from collections.abc import Sequence
from pathlib import Path

from dynpool.training import ConfigError, check_folder, interruptible, writing

from .arguments import Parser, place
from .output import Output

__all__ = ["parser", "report"]


def parser() -> Parser:
    """The parser of the command's options."""
    found = Parser("report", "Write report.html, summary.csv and plots of trained runs.")
    found.add_argument("runs", nargs="+", type=place, metavar="RUN", help="folder of a run or of a comparison")
    found.add_argument(
        "--out", type=place, metavar="FOLDER", help="output folder; default: RUN if there is only one, else report/"
    )
    found.add_argument("--svg", action="store_true", help="write the plots as SVG, too")
    return found


def report(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    options = parser().read(arguments)
    out = options.out or (options.runs[0] if len(options.runs) == 1 else Path("report"))
    if options.out is not None or len(options.runs) > 1 or out.is_dir():
        check_folder(out)
    from dynpool.analysis.comparison import compare_runs, write_report

    try:
        with interruptible():
            comparison = compare_runs(options.runs)
            with writing(out, when_full="free some space"):
                path = write_report(comparison, out, vector=options.svg)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error
    output.text(comparison)
    output.notice(f"report: {path}")
    output.document(lambda: {**comparison.to_dict(), "report": str(path)})
    return 0
