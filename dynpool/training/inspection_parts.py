"""Pruning, curvature and similarity of trained networks, kept in folders, for `dynpool inspect`."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from dynpool.analysis import CKAReport, HessianSpectrum, PruningReport, cka, hessian_eigenvalues, pruning_curve
from dynpool.analysis.representations import read_pruning, read_similarity, read_spectrum

from .augmentation import Augmentation
from .config import RunConfig
from .data import Dataset
from .errors import ConfigError
from .inspection import naming
from .kept import kept_or_made
from .methods import weight_groups
from .objective import mixed, task_loss
from .optimizer import learning_rate_factor, make_optimizer
from .subjects import InOrder, Subject

__all__ = ["HessianOptions", "PruningOptions", "hessians_of", "prune_subject", "similarity_of"]

Progress = Callable[[str, int, int | None], object]


@dataclass(frozen=True)
class PruningOptions:
    """How to prune; see `dynpool.analysis.pruning_curve`.

    Attributes:
        amounts: shares of the weights to remove.
        epochs: of fine-tuning with the mask, by the run's own settings; 0: none.
    """

    amounts: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    epochs: int = 1


@dataclass(frozen=True)
class HessianOptions:
    """Which eigenvalues; see `dynpool.analysis.hessian_eigenvalues`.

    Attributes:
        eigenvalues: how many.
        images: training images that the loss is the mean over.
        tolerance: relative accuracy.
    """

    eigenvalues: int = 90
    images: int = 256
    tolerance: float = 1e-3


def fine_tune(model: nn.Module, config: RunConfig, dataset: Dataset, epochs: int) -> None:
    """Train a pruned network in place: optimiser, batches and augmentation of its run, sizes held.

    The learning rate starts at that of the run and follows its schedule over these epochs, without a warm-up. The
    images of an epoch are those of the run's epoch of that number.
    """
    optimizer = make_optimizer(model, weight_groups(model, config), config)
    objective, classes = task_loss(config), len(dataset.classes)
    steps = math.ceil(len(dataset.train) / config.batch_size)
    factor = learning_rate_factor(replace(config, epochs=epochs, warmup_epochs=0.0), steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for epoch in range(1, epochs + 1):
        batches = dataset.train.batches(
            config.batch_size, seed=config.seed, epoch=epoch, augmentation=Augmentation.of(config.data)
        )
        for number, (images, labels) in enumerate(batches):
            images, targets = mixed(images, labels, config, classes, (epoch, number))
            loss = objective(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(batches: InOrder, model: nn.Module) -> float:
    """The share of the images that a network classifies correctly."""
    found = [(model(images).argmax(1) == labels) for images, labels in batches]
    return float(torch.cat(found).double().mean())


def prune_subject(
    subject: Subject, options: PruningOptions, out: Path, *, progress: Progress | None = None
) -> tuple[PruningReport, bool]:
    """The pruning curve of a trained network, on its held-out images, written to `out`; and whether it was there.

    Raises:
        ConfigError: for fine-tuning without settings of training, or a network that cannot be pruned.
    """
    config = subject.config
    if config is None and options.epochs:
        raise ConfigError(f"{subject.name}: it has no settings of training to fine-tune with: fine-tune for 0 epochs")

    def make() -> PruningReport:
        model, dataset = subject.load()
        tune = None
        if config is not None and options.epochs:
            tune = partial(fine_tune, config=config, dataset=dataset, epochs=options.epochs)
        shown = None if progress is None else partial(progress, "pruning")
        with naming(subject.name):
            return pruning_curve(
                model, options.amounts, partial(accuracy, subject.batches(dataset.test)), fine_tune=tune, progress=shown
            )

    return kept_or_made(
        out,
        {**subject.digest, "pruning": asdict(options)},
        lambda: read_pruning(out / "pruning.json"),
        make,
        lambda report: report.write(out, score="accuracy"),
    )


def hessians_of(
    subject: Subject, options: HessianOptions, out: Path, *, progress: Progress | None = None
) -> tuple[dict[str, HessianSpectrum], bool]:
    """{"before training", "trained": spectrum of the training loss}, written to `out`; and whether they were there.

    The first is that of the initial weights of the same seed, and is left out where a checkpoint does not tell them.
    Batch norms are as in use: before training, they do not normalise.
    """
    spectra, kept = {}, []

    def make(label: str) -> HessianSpectrum:
        model, dataset = subject.load()
        if label == BEFORE:
            model = subject.initial(dataset)
        loss = F.cross_entropy if subject.config is None else task_loss(subject.config)
        shown = None if progress is None else partial(progress, f"Hessian {label}")
        with naming(subject.name):
            return hessian_eigenvalues(
                model, subject.batches(dataset.train, options.images),
                loss, k=options.eigenvalues, tol=options.tolerance, progress=shown,
            )  # fmt: skip

    for label in (TRAINED,) if subject.config is None else (BEFORE, TRAINED):
        folder = out / label.replace(" ", "-")
        spectra[label], there = kept_or_made(
            folder,
            {**subject.digest, "hessian": asdict(options)},
            partial(read_spectrum, folder / "hessian.json"),
            partial(make, label),
            partial(_write, folder),
        )
        kept.append(there)
    return spectra, all(kept)


def _write(folder: Path, spectrum: HessianSpectrum) -> None:
    spectrum.write(folder)


BEFORE, TRAINED = "before training", "trained"


def similarity_of(
    one: Subject, other: Subject, images: int | None, out: Path, *, progress: Progress | None = None
) -> tuple[CKAReport, bool]:
    """Linear CKA of all layers of two trained networks on held-out images of the first, written to `out`.

    Raises:
        ConfigError: for networks that cannot be compared, such as those for other images.
    """

    def make() -> CKAReport:
        (model, dataset), (second, _) = one.load(), other.load()
        shown = None if progress is None else partial(progress, "similarity")
        with naming(f"{one.name} and {other.name}"):
            return cka(model, second, one.batches(dataset.test, images), progress=shown)

    return kept_or_made(
        out,
        {"one": dict(one.digest), "other": dict(other.digest), "images": images},
        lambda: read_similarity(out / "cka.json"),
        make,
        lambda report: report.write(out),
    )
