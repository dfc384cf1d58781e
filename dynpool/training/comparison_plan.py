"""What a comparison would take, from a few steps of each of its methods: time, memory, and space on the disk."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dynpool
from dynpool.analysis.common.cost_unit import cost_unit
from dynpool.analysis.common.text_table import aligned

from .accelerators import accelerator_for
from .checkpoint import last_path
from .comparison import check_methods, default_workers
from .config import ComparisonConfig, RunConfig
from .config_file import run_config
from .config_sections import LatencyConfig
from .data import load_data
from .grid_point import GridPoint
from .loop import prepare_model
from .matching import Queue
from .progress import Silent
from .run import Run
from .run_folder import RunFolder
from .splits import Dataset, Split
from .stop import Stop

__all__ = ["ComparisonPlan", "PlannedRuns", "plan_comparison"]

STEPS = 3  # that are measured, after as many that are not
TESTED = 256  # images


@dataclass(frozen=True)
class PlannedRuns:
    """The runs of one grid point, which differ in their seed.

    Attributes:
        group: the method, with its grid point.
        runs: how many.
        gmacs: of one image at the initial sizes; learned sizes change it.
        parameters: of the network.
        checkpoint_bytes: size of a checkpoint.
        kept: checkpoints that each run keeps.
        seconds_per_step, seconds_per_epoch, hours: of one run, tests included, as measured here with nothing beside it.
        peak_memory: of the steps, in bytes, see `peak_memory` of a run.
    """

    group: str
    runs: int
    gmacs: float
    parameters: int
    checkpoint_bytes: int
    kept: int
    seconds_per_step: float
    seconds_per_epoch: float
    hours: float
    peak_memory: int


@dataclass(frozen=True)
class ComparisonPlan:
    """What a comparison would take; `str()` prints it.

    Attributes:
        points: one entry per grid point.
        workers: runs in parallel.
        notes: what the figures leave out.
    """

    points: tuple[PlannedRuns, ...]
    workers: int
    notes: tuple[str, ...]

    @property
    def runs(self) -> int:
        """The number of runs."""
        return sum(point.runs for point in self.points)

    @property
    def hours(self) -> float:
        """Hours of all runs one after the other."""
        return sum(point.runs * point.hours for point in self.points)

    @property
    def bytes(self) -> int:
        """Size of all checkpoints at the end."""
        return sum(point.runs * point.kept * point.checkpoint_bytes for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data."""
        totals = {"runs": self.runs, "hours": self.hours, "bytes": self.bytes, "workers": self.workers}
        return totals | {"points": [asdict(point) for point in self.points], "notes": list(self.notes)}

    def __str__(self) -> str:
        unit = cost_unit(point.gmacs for point in self.points)
        heads = f"method|runs|{unit.name}|parameters|checkpoint MB|memory MB|s/step|s/epoch|hours/run".split("|")
        rows = [
            [
                point.group,
                str(point.runs),
                unit.show(point.gmacs),
                f"{point.parameters:,}",
                f"{point.kept} x {point.checkpoint_bytes / 1e6:.1f}",
                f"{point.peak_memory / 1e6:,.0f}",
                f"{point.seconds_per_step:.3g}",
                f"{point.seconds_per_epoch:.3g}",
                f"{point.hours:.2g}",
            ]
            for point in self.points
        ]
        together = f"{self.runs} runs: {self.hours:.2g} hours one after the other"
        if self.workers > 1:
            together += f", {self.hours / self.workers:.2g} if {self.workers} in parallel do not slow each other down"
        together += f"; {self.bytes / 1e6:,.1f} MB of checkpoints"
        return "\n".join([*aligned([heads, *rows], left={0}), "", together, *self.notes])


def plan_comparison(config: ComparisonConfig, *, progress: Callable[[str], object] | None = None) -> ComparisonPlan:
    """What a comparison would take, from a few steps of one run of each grid point. Nothing is kept.

    Args:
        config: the comparison.
        progress: called with the name of each group before it is measured.

    Raises:
        TrainingError: if a run could not start; the subclass says why.
    """
    check_methods(config)
    seed = config.seeds[0]
    waiting = Queue([(run_config(config, point, seed), point) for point in config.points()])
    costs: dict[str, float] = {}
    found: dict[str, PlannedRuns] = {}
    while taken := waiting.take():
        (run, point), matched = taken
        if progress is not None:
            progress(point.group)
        if matched is not None:
            run = dataclasses.replace(run, gmacs_budget={"match": str(run.match), "gmacs": costs[matched.name]})
        found[point.group] = _measured(run, point, len(config.seeds))
        costs[run.name] = found[point.group].gmacs
        waiting.ended(run.name)
    notes = ["GMACs are those of the initial sizes: learned ones change them, and the time with them."]
    if config.compile:
        notes.append("Measured without torch.compile.")
    if config.latency.wanted:
        notes.append("The measurement of milliseconds does not count.")
    if config.data.stream:
        notes.append("The start of the processes that decode images counts: an epoch of many batches is faster.")
    ordered = tuple(found[point.group] for point in config.points())
    return ComparisonPlan(ordered, min(default_workers(config), len(ordered) * len(config.seeds)), tuple(notes))


def _measured(config: RunConfig, point: GridPoint, seeds: int) -> PlannedRuns:
    """The figures of a run, from steps that leave weights and sizes as they are."""
    dataset = load_data(config.data)
    images = STEPS * config.batch_size
    short = Dataset(_first(dataset.train, images), _first(dataset.test, TESTED), dataset.classes)
    with tempfile.TemporaryDirectory() as folder:
        still: Mapping[str, Any] = {"lr": 0.0, "alpha_lr": 0.0, "epochs": 2, "warmup_epochs": 0.0}
        trial = dataclasses.replace(
            config,
            **still,
            compile=False,
            save_steps=0,
            latency=LatencyConfig(),
            track=(),
            input_size=dataset.input_size,
            out=folder,
        )
        prepared = prepare_model(trial, dataset)
        run = Run(trial, RunFolder(Path(folder)), accelerator_for(trial), short, prepared, Stop())
        run.epoch(1, Silent(), None)
        row = run.epoch(2, Silent(), None)
        run.save(2, row, run.shared_state())
        size = last_path(Path(folder)).stat().st_size
    training = 1 / row["images_per_second"]
    testing = (row["seconds"] - len(short.train) * training) / len(short.test)
    steps = -(-len(dataset.train) // config.batch_size)
    epoch = len(dataset.train) * training + len(dataset.test) * testing
    return PlannedRuns(
        group=point.group,
        runs=seeds,
        gmacs=dynpool.count_macs(prepared.model, dataset.input_size).gmacs,
        parameters=row["parameters"],
        checkpoint_bytes=size,
        kept=1 + (config.epochs // config.checkpoint_every + 1 if config.checkpoint_every else 0),
        seconds_per_step=len(dataset.train) * training / steps,
        seconds_per_epoch=epoch,
        hours=config.epochs * epoch / 3600,
        peak_memory=row["peak_memory"],
    )


def _first(split: Split, images: int) -> Split:
    """The first images of a split."""
    of_images = {"labels", "images", "files"} & {field.name for field in dataclasses.fields(split)}
    return dataclasses.replace(split, **{name: getattr(split, name)[:images] for name in of_images})
