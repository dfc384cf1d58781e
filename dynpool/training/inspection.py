"""Inspection of a trained network on its own images, kept in a folder, for `dynpool inspect`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dynpool.analysis import InspectionReport, inspect
from dynpool.analysis.representations import read_report

from .errors import ConfigError, RunFolderError
from .kept import kept_or_made
from .subjects import Subject, subject_of_run

__all__ = ["InspectionOptions", "inspect_run", "inspect_subject", "naming"]

Progress = Callable[[str, int, int | None], object]


@dataclass(frozen=True)
class InspectionOptions:
    """What to measure; see `dynpool.analysis.inspect`.

    Attributes:
        probes: fit probes.
        saturation: measure saturation.
        heatmaps: layers that get a probe at each position.
        layers: layers to look at; None: all convolutions and linear layers.
        images: images of each set at most, drawn from the run's seed; None: all.
        tolerance: of the tail.
        threshold: of the saturation.
        iterations: of a probe's solver at most.
        memory: bytes of activations to keep at most.
    """

    probes: bool = True
    saturation: bool = True
    heatmaps: tuple[str, ...] = ()
    layers: tuple[str, ...] | None = None
    images: int | None = None
    tolerance: float = 0.01
    threshold: float = 0.99
    iterations: int = 1000
    memory: int = 2**31


@contextmanager
def naming(subject: str) -> Iterator[None]:
    """A context that turns errors of what was measured into ones that name the network."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{subject}: {error}") from error
    except ImportError as error:
        raise ConfigError(str(error)) from error
    except MemoryError as error:
        raise RunFolderError(f"{subject}: {error or 'no memory left'}; what was measured before is kept") from error


def inspect_run(
    folder: Path,
    options: InspectionOptions,
    out: Path,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], object] | None = None,
) -> tuple[InspectionReport, bool]:
    """The inspection of a run's last checkpoint, see `inspect_subject`."""
    return inspect_subject(subject_of_run(folder), options, out, progress=progress, tell=tell)


def inspect_subject(
    subject: Subject,
    options: InspectionOptions,
    out: Path,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], object] | None = None,
) -> tuple[InspectionReport, bool]:
    """The inspection of a trained network, written to `out`, and whether it was there already.

    A report in `out` that was made with the same options from the same checkpoint is read, not made again.

    Args:
        subject: the network and its images.
        options: what to measure.
        out: the folder of the report.
        progress, tell: see `dynpool.analysis.inspect`.

    Raises:
        ConfigError: for a layer that the network does not have, or images that cannot be probed.
        TrainingError: if its files are damaged, or the memory does not suffice.
    """

    def make() -> InspectionReport:
        model, dataset = subject.load()
        train, held_out = (subject.batches(images, options.images) for images in (dataset.train, dataset.test))
        with naming(subject.name):
            return inspect(
                model, train, held_out, layers=options.layers, probes=options.probes,
                saturation=options.saturation, heatmaps=options.heatmaps, threshold=options.threshold,
                tolerance=options.tolerance, iterations=options.iterations, memory=options.memory, seed=subject.seed,
                progress=progress, tell=tell,
            )  # fmt: skip

    return kept_or_made(
        out,
        {**subject.digest, "options": asdict(options)},
        lambda: read_report(out / "inspection.json"),
        make,
        lambda report: report.write(out),
    )
