"""dynpool inspect: which layers of trained networks work, and whether their receptive fields predict it."""

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dynpool.training import ConfigError, check_folder, interruptible, writing

from .arguments import Parser, count, place

__all__ = ["inspect"]

OUT = "inspection"


def _share(text: str) -> float:
    if re.fullmatch(r"0?\.\d+", text) and 0 < float(text) < 1:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}; allowed: a number above 0 and below 1")


def _parser() -> Parser:
    parser = Parser(
        "inspect",
        "Which layers of trained networks work: probes and saturation beside receptive fields, layer by layer.",
    )
    parser.add_argument("runs", nargs="+", type=place, metavar="RUN", help="folder of a run or of a comparison")
    parser.add_argument("--probes", action="store_true", help="only probes (and what else is named)")
    parser.add_argument("--saturation", action="store_true", help="only the saturation (and what else is named)")
    parser.add_argument(
        "--heatmaps",
        nargs="+",
        default=[],
        metavar="LAYER",
        help="layers that get a probe at each position of their map",
    )
    parser.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="layers to look at; default: all convolutions and linear layers"
    )
    parser.add_argument("--images", type=count, metavar="N", help="training and held-out images at most; default: all")
    parser.add_argument(
        "--tolerance", type=_share, default=0.01, metavar="SHARE",
        help="of the tail: layers whose relative accuracy stays within this of the last layer's; default: 0.01",
    )  # fmt: skip
    parser.add_argument(
        "--threshold",
        type=_share,
        default=0.99,
        metavar="SHARE",
        help="variance that saturation explains; default: 0.99",
    )
    parser.add_argument(
        "--iterations", type=count, default=1000, metavar="N", help="of a probe's solver at most; default: 1000"
    )
    parser.add_argument(
        "--memory", type=count, default=2048, metavar="MIB", help="for activations at most; default: 2048"
    )
    parser.add_argument(
        "--out", type=place, metavar="FOLDER",
        help="folder of the page; default: inspection in the only folder given, or in the one that all lie in. Each "
        "run's own figures are kept in RUN/inspection",
    )  # fmt: skip
    return parser


def inspect(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    options = _parser().read(arguments)
    out = options.out or Path(os.path.commonpath([folder.absolute() for folder in options.runs])) / OUT
    if options.out is not None:
        check_folder(out)
    from dynpool.analysis import InspectionReport
    from dynpool.analysis.comparison import find_runs, read_run
    from dynpool.analysis.representations import tail_agreement, write_page
    from dynpool.training import InspectionOptions, inspect_run

    both = not (options.probes or options.saturation)
    wanted = InspectionOptions(
        probes=options.probes or both, saturation=options.saturation or both, heatmaps=tuple(options.heatmaps),
        layers=None if options.layers is None else tuple(options.layers), images=options.images,
        tolerance=options.tolerance, threshold=options.threshold, iterations=options.iterations,
        memory=options.memory * 2**20,
    )  # fmt: skip
    with interruptible():
        try:
            runs = [read_run(folder) for folder in find_runs(options.runs)]
        except (ValueError, FileNotFoundError) as error:
            raise ConfigError(str(error)) from error
        check_folder(out)
        reports: dict[str, InspectionReport] = {}
        pictured: dict[str, str] = {}
        for run in runs:
            name = run.label if run.label not in reports else f"{run.label} ({run.folder})"
            with _shown(name) as progress:
                found, kept = inspect_run(run.folder, wanted, run.folder / OUT, progress=progress)
            print(f"{name}{' (kept from before)' if kept else ''}")
            print(f"{found}\n" if len(runs) == 1 else f"  {found.verdict}", flush=True)
            reports[name] = found
            pictured.setdefault(run.group, name)
        with writing(out, when_full="free some space"):
            page = write_page(reports, out, pictured=pictured if len(runs) > 1 else None)
    if len(runs) > 1:
        print(tail_agreement(reports))
    print(f"page: {page}")
    return 0


@contextmanager
def _shown(name: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A context whose value shows the progress of each part as a bar in a terminal."""
    from rich.console import Console

    from dynpool.training import bars

    console = Console(stderr=True)
    with bars(console) as progress:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(f"{name}: {what}", total=total, visible=console.is_terminal)
            progress.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield show
