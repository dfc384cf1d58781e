"""dynpool inspect: which layers of trained networks work, and whether their receptive fields predict it."""

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynpool.training import ConfigError, check_folder, interruptible, writing

from .inspect_arguments import parser
from .output import Output

if TYPE_CHECKING:
    from dynpool.analysis import CKAReport, HessianSpectrum, InspectionReport, PruningReport
    from dynpool.analysis.comparison import Run
    from dynpool.training import Wanted

__all__ = ["inspect", "parser"]

OUT = "inspection"


def inspect(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    options = parser().read(arguments)
    if options.out is not None:
        check_folder(options.out)
    with interruptible():
        try:
            return _checkpoint(options, output) if options.checkpoint is not None else _runs(options, output)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("what was measured is kept: the same command continues") from None


def _wanted(options: argparse.Namespace) -> "Wanted":
    from dynpool.training import HessianOptions, InspectionOptions, PruningOptions, Wanted

    both = not (options.probes or options.saturation)
    inspection = InspectionOptions(
        probes=options.probes or both, saturation=options.saturation or both, heatmaps=tuple(options.heatmaps),
        layers=None if options.layers is None else tuple(options.layers), images=options.images,
        tolerance=options.tolerance, threshold=options.threshold, iterations=options.iterations,
        memory=options.memory * 2**20,
    )  # fmt: skip
    pruning = PruningOptions(tuple(sorted(set(options.amounts))), options.fine_tune) if options.pruning else None
    hessian = HessianOptions(options.eigenvalues, options.hessian_images) if options.hessian else None
    return Wanted(inspection, pruning, hessian)


def _runs(options: argparse.Namespace, output: Output) -> int:
    if not options.runs:
        raise ConfigError("dynpool inspect needs a RUN or more, or --checkpoint FILE with MODEL and DATA_FOLDER")
    for name in ("input_size", "prefix", "normalise"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} requires --checkpoint: a run has its own")
    out = options.out or Path(os.path.commonpath([folder.absolute() for folder in options.runs])) / OUT
    from dynpool.analysis.comparison import find_runs, read_run
    from dynpool.analysis.representations import tail_agreement, write_page
    from dynpool.training import default_workers, measure_runs, subject_of_run

    wanted = _wanted(options)
    try:
        runs = [read_run(folder) for folder in find_runs(options.runs)]
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    runs.sort(key=lambda run: run.method != "human")  # the design first, to which others are compared
    names = _names(runs)
    pairs = _pairs(runs) if options.cka else []
    for run in runs:
        subject_of_run(run.folder)  # raises for one without checkpoint, before anything is measured
    check_folder(out)
    label = {run.folder: name for run, name in zip(runs, names, strict=True)}

    def told(folder: Path, kept: bool) -> None:
        output.notice(f"{label[folder]}{' (kept from before)' if kept else ''}")

    workers = min(options.workers or default_workers(len(runs)), len(runs))
    if workers > 1:
        measure_runs([(run.folder, run.folder / OUT) for run in runs], wanted, workers, told)
    else:
        from dynpool.training import measure

        for run in runs:
            with _shown(label[run.folder], output) as progress:
                kept = measure(subject_of_run(run.folder), wanted, run.folder / OUT, progress)
            told(run.folder, kept)
    reports, pruning, spectra = _results(
        {name: run.folder / OUT for run, name in zip(runs, names, strict=True)}, wanted
    )
    similarity = _similarities(pairs, options.images, out, output)
    designs = {name: run.group for run, name in zip(runs, names, strict=True)}
    with writing(out, when_full="free some space"):
        page = write_page(reports, out, designs=designs, pruning=pruning, spectra=spectra, similarity=similarity)
    for name, report in reports.items():
        output.text(f"{report}\n" if len(runs) == 1 else f"{name}: {report.verdict}")
    for each in (pruning, similarity):
        for name, found in each.items():
            output.text(f"\n{name}\n{found}")
    for name, both in spectra.items():
        for what, spectrum in both.items():
            output.text(f"\n{name}, {what}\n{spectrum}")
    agreement = tail_agreement(reports, designs) if len(runs) > 1 else None
    if agreement is not None:
        output.text(f"\n{agreement}. {agreement.detail}")
    output.text(_convergence(reports))
    output.notice(f"page: {page}")
    output.document(
        lambda: {
            "networks": _figures(reports, pruning, spectra),
            "similarity": {title: found.to_dict() for title, found in similarity.items()},
            "agreement": None if agreement is None else agreement.to_dict(),
            "page": str(page),
        }
    )
    return 0


def _checkpoint(options: argparse.Namespace, output: Output) -> int:
    if len(options.runs) != 2:
        raise ConfigError("dynpool inspect --checkpoint FILE needs MODEL and DATA_FOLDER, and no more")
    if options.input_size is None:
        raise ConfigError("dynpool inspect --checkpoint needs --input-size, for example --input-size 32")
    if options.cka:
        raise ConfigError("--cka compares two runs of a method, and there is one checkpoint")
    if options.pruning and options.fine_tune:
        raise ConfigError("--pruning: a checkpoint has no settings of training to fine-tune with: add --fine-tune 0")
    name, folder = str(options.runs[0]), options.runs[1]
    out = options.out or Path(f"{OUT}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}")
    check_folder(out)
    from dynpool.analysis.representations import write_page
    from dynpool.training import folder_of_images, measure, subject_of_checkpoint

    from .named import with_checkpoint

    dataset = folder_of_images(folder, options.input_size, normalise=options.normalise or "folder")
    try:
        full, model = with_checkpoint(
            name, options.input_size, options.checkpoint, options.prefix or "", classes=len(dataset.classes)
        )
    except (ValueError, TypeError, FileNotFoundError, ModuleNotFoundError) as error:
        raise ConfigError(str(error)) from error
    wanted = _wanted(options)
    with _shown(full, output) as progress:
        kept = measure(subject_of_checkpoint(full, model, options.checkpoint, folder, dataset), wanted, out, progress)
    reports, pruning, spectra = _results({full: out}, wanted)
    with writing(out, when_full="free some space"):
        page = write_page(reports, out, pruning=pruning, spectra=spectra)
    output.text(f"{full}{' (kept from before)' if kept else ''}\n{reports[full]}")
    for found in pruning.values():
        output.text(f"\n{found}")
    for both in spectra.values():
        output.text(f"\n{both['trained']}")
    output.notice(f"images are normalised by the moments of {options.normalise or 'folder'}; page: {page}")
    output.document(lambda: {"networks": _figures(reports, pruning, spectra), "page": str(page)})
    return 0


def _names(runs: "Sequence[Run]") -> list[str]:
    """A name for each run; its folder distinguishes those of the same method and seed."""
    labels = [run.label for run in runs]
    return [
        label if labels.count(label) == 1 else f"{label} ({run.folder})"
        for run, label in zip(runs, labels, strict=True)
    ]


def _pairs(runs: "Sequence[Run]") -> "list[tuple[Run, Run]]":
    """The first two seeds of each method that has several.

    Raises:
        ConfigError: if none has.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    pairs = [(found[0], found[1]) for found in (sorted(g, key=lambda r: r.seed) for g in groups.values()) if found[1:]]
    if not pairs:
        raise ConfigError("--cka compares two seeds of a method, and no method has two runs here")
    return pairs


def _results(
    folders: dict[str, Path], wanted: "Wanted"
) -> "tuple[dict[str, InspectionReport], dict[str, PruningReport], dict[str, dict[str, HessianSpectrum]]]":
    """({name: report}, {name: pruning}, {name: {label: spectrum}}) as they were kept."""
    from dynpool.analysis.representations import read_pruning, read_report, read_spectrum

    reports = {name: read_report(folder / "inspection.json") for name, folder in folders.items()}
    pruning = {
        name: read_pruning(folder / "pruning" / "pruning.json") for name, folder in folders.items() if wanted.pruning
    }
    spectra = {
        name: {
            path.parent.name.replace("-", " "): read_spectrum(path)
            for path in sorted((folder / "hessian").glob("*/hessian.json"))
        }
        for name, folder in folders.items()
        if wanted.hessian
    }
    return reports, pruning, spectra


def _similarities(
    pairs: "list[tuple[Run, Run]]", images: int | None, out: Path, output: Output
) -> "dict[str, CKAReport]":
    """{title: similarity} of the pairs of runs, kept below `out`."""
    from dynpool.training import similarity_of, subject_of_run

    found = {}
    for one, other in pairs:
        title = f"{one.group}: seed {one.seed} and seed {other.seed}"
        with _shown(title, output) as progress:
            folder = out / "cka" / f"{one.folder.name}--{other.folder.name}"
            found[title], kept = similarity_of(
                subject_of_run(one.folder), subject_of_run(other.folder), images, folder, progress=progress
            )
        output.notice(f"similarity, {title}{' (kept from before)' if kept else ''}")
    return found


def _figures(
    reports: "dict[str, InspectionReport]",
    pruning: "dict[str, PruningReport]",
    spectra: "dict[str, dict[str, HessianSpectrum]]",
) -> dict[str, Any]:
    """What was measured of each network, as plain data."""
    return {
        name: {
            **report.to_dict(),
            "pruning": pruning[name].to_dict() if name in pruning else None,
            "hessian": {label: spectrum.to_dict() for label, spectrum in spectra.get(name, {}).items()},
        }
        for name, report in reports.items()
    }


def _convergence(reports: "dict[str, InspectionReport]") -> str:
    """Whether all probes converged."""
    probes = [row.probe for report in reports.values() for row in report.rows if row.probe is not None]
    if not probes:
        return "no probes were fitted"
    loose = sum(not probe.converged for probe in probes)
    return f"{len(probes)} probes, {f'{loose} of them not converged' if loose else 'all converged'}"


@contextmanager
def _shown(name: str, output: Output) -> Iterator[Callable[[str, int, int | None], None]]:
    """A context whose value shows the progress of each part as a bar in a terminal."""
    from rich.console import Console

    from dynpool.training import bars

    console = Console(stderr=True, quiet=output.quiet)
    with bars(console) as progress:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(f"{name}: {what}", total=total, visible=console.is_terminal)
            progress.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield show
