"""dynpool sensitivity: what a few pixels more or less of each learned size do to the loss of a run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dynpool.training import ConfigError, check_folder, interruptible, writing

from .arguments import Parser, count, place
from .output import Output

__all__ = ["parser", "sensitivity"]


def parser() -> Parser:
    """The parser of the command's options."""
    found = Parser(
        "sensitivity",
        "Measure the loss of a run's network with a few pixels more or less of each learned size, and the gradient.",
    )
    found.add_argument(
        "--run", type=place, required=True, metavar="FOLDER",
        help="a run folder: its network, images, batch size and loss (without a GMACs term)",
    )  # fmt: skip
    found.add_argument(
        "--batches", type=count, default=16, metavar="N",
        help="number of batches, drawn with the run's seed, without augmentation; default: 16, or all if fewer",
    )  # fmt: skip
    found.add_argument(
        "--split", choices=("train", "test"), default="train",
        help="images to measure on; default: train, as sizes are learned with their gradient, and sizes chosen on test "
        "images could no longer be tested on them",
    )  # fmt: skip
    found.add_argument(
        "--steps", type=count, nargs="+", default=[1, 2, 4], metavar="PIXELS",
        help="pixels more and less; default: 1 2 4",
    )  # fmt: skip
    found.add_argument(
        "--training", action="store_true",
        help="measure in training mode, with the statistics of each batch; default: with the running statistics",
    )  # fmt: skip
    found.add_argument("--out", type=place, metavar="FOLDER", help="output folder; default: RUN/sensitivity")
    found.add_argument("--svg", action="store_true", help="write the plot as SVG, too")
    return found


def sensitivity(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    options = parser().read(arguments)
    out = options.out or options.run / "sensitivity"
    if len(set(options.steps)) < len(options.steps):
        raise ConfigError(f"--steps is {' '.join(map(str, options.steps))}; allowed: distinct numbers of pixels")
    if options.out is not None:
        check_folder(out)
    import torch

    from dynpool.analysis.comparison import read_run
    from dynpool.training import RunBatches, RunConfig, load_config, load_data, restored_model, run_sensitivity

    with interruptible():
        try:
            run = read_run(options.run)
        except (ValueError, FileNotFoundError) as error:
            raise ConfigError(f"--run: {error}") from error
        check_folder(out)
        config, _ = load_config(RunConfig, options.run / "config.yaml")
        model, _ = restored_model(options.run)
        device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
        dataset = load_data(config.data).to(device)
        batches = RunBatches(dataset.train if options.split == "train" else dataset.test, config, options.batches)
        with _counted(len(batches), quiet=output.quiet) as progress:
            report = run_sensitivity(
                model.to(device), batches, steps=tuple(options.steps), training=options.training, progress=progress
            )
        output.text(f"{run.label}, {options.split} images\n{report}")
        with writing(out, when_full="free some space"):
            files = report.write(out, vector=options.svg)
    output.notice(f"written to {out}: {', '.join(file.name for file in files)}")
    output.document(lambda: {"run": run.label, "split": options.split, **report.to_dict(), "folder": str(out)})
    return 0


@contextmanager
def _counted(batches: int, *, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A context whose value prints the number of passes before the first one, and shows a bar in a terminal."""
    from rich.console import Console

    from dynpool.training import bars

    console = Console(stderr=True, quiet=quiet)
    with bars(console) as progress:
        task = progress.add_task("forward passes", total=None, visible=console.is_terminal)

        def show(done: int, total: int | None) -> None:
            if not done and total is not None:
                said = f"{total} forward passes: {total // batches} for each of {batches} batches"
                console.print(said, highlight=False, soft_wrap=True)
            progress.update(task, completed=done, total=total)

        yield show
