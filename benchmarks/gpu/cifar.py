"""Part "cifar": the short comparison on CIFAR-10, all methods, with as many epochs as fit into the time.

The images come along as an archive (or folder): torchvision's ``cifar-10-batches-py``, or image files as
``train/CLASS/*`` and ``test/CLASS/*``. One epoch of each method tells how long an epoch takes; then all are trained for
the same number of them, the configuration's at most. A row for each epoch.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import yaml

from benchmarks.gpu.context import Context
from benchmarks.gpu.rows import FAILED, MEASURED, SKIPPED, Rows, path_of
from dynpool.training.config import COMPARISON_KEYS, ComparisonConfig, RunConfig
from dynpool.training.config_identity import to_dict
from dynpool.training.config_sections import DataConfig
from dynpool.training.errors import TrainingError
from dynpool.training.loop import train

__all__ = ["images_in", "main", "runs"]

CONFIG = Path(__file__).parents[2] / "configs" / "short" / "cifar10-vgg16.yaml"
COLUMNS = (
    "run",
    "epoch",
    "epochs",
    "train_accuracy",
    "test_accuracy",
    "gmacs",
    "sizes",
    "seconds",
    "images_per_second",
)
_USED = 0.95  # of the time that is left after the first epochs

C = TypeVar("C")


def main(context: Context) -> None:
    """Unpack the images, measure an epoch of each run, train all."""
    if context.images is None:
        raise SystemExit("cifar needs --images: an archive or folder of the images")
    with (
        tempfile.TemporaryDirectory() as scratch,
        Rows(path_of(context.out, "cifar"), COLUMNS, context.device) as rows,
    ):
        data = images_in(context.images, Path(scratch) / "images")
        data = dataclasses.replace(data, cache=str(Path(scratch) / "cache"))
        todo = runs(data, context)
        once, fixed = {}, 0.0
        for config in todo:
            print(f"begin one epoch of {config.name}", flush=True)
            begin, epoch = time.perf_counter(), _Epoch()
            try:
                train(
                    dataclasses.replace(config, epochs=1, out=str(Path(scratch) / "once" / config.name)), reporter=epoch
                )
            except TrainingError as error:
                rows.add(config.name, FAILED, note=str(error), run=config.name)
                continue
            once[config.name] = epoch.seconds
            fixed += time.perf_counter() - begin - epoch.seconds
        epochs = int((_USED * context.left() - fixed) / max(sum(once.values()), 1e-9))
        epochs = min(epochs, todo[0].epochs)
        rows.add(f"epochs that fit: {epochs} of {todo[0].epochs}", MEASURED if epochs else SKIPPED, epochs=epochs)
        for config in todo if epochs else ():
            if config.name in once:
                own = dataclasses.replace(config, epochs=epochs, out=str(Path(scratch) / "runs" / config.name))
                try:
                    train(own, reporter=_Written(rows, own))
                except TrainingError as error:
                    rows.add(config.name, FAILED, note=str(error), run=config.name)


def images_in(source: Path, scratch: Path) -> DataConfig:
    """Where the images are, unpacked if need be; at 32 pixels, with the augmentation of the configuration.

    Raises:
        SystemExit: there are none.
    """
    root = source
    if source.is_file():
        shutil.unpack_archive(source, scratch, filter="data" if ".tar" in source.name else None)
        root = scratch
    augmented: dict[str, Any] = {"resolution": 32, "shift": 4, "flip": True}
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if (folder / "cifar-10-batches-py").is_dir():
            return DataConfig(name="cifar10", root=str(folder), **augmented)
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            return DataConfig(name="folder", root=str(folder), **augmented)
    raise SystemExit(f"{source}: neither cifar-10-batches-py/ nor train/ and test/ in it")


def runs(data: DataConfig, context: Context) -> list[RunConfig]:
    """The runs of the comparison, one seed, on these images."""
    comparison = _typed(ComparisonConfig, yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
    found = []
    for point in comparison.points():
        values = {key: value for key, value in to_dict(comparison).items() if key not in COMPARISON_KEYS}
        for key, value in point.values.items():
            *sections, last = key.split(".")
            section = values
            for name in sections:
                section = section[name]
            section[last] = value
        config = dataclasses.replace(
            _typed(RunConfig, values), name=point.name(comparison.seeds[0]), method=point.method,
            seed=comparison.seeds[0], data=data, device=context.device, grid_point=point.label,
        )  # fmt: skip
        if not context.tiny or point.method in ("human", "dynopool"):
            found.append(dataclasses.replace(config, epochs=2, precision="no") if context.tiny else config)
    return found


def _typed(kind: type[C], values: Mapping[str, Any]) -> C:
    """A configuration from what its file says; `dynpool.training.config_file`, which checks it, wants more packages."""
    hints, typed = get_type_hints(kind), dict(values)
    for key, value in values.items():
        if dataclasses.is_dataclass(hints[key]):
            typed[key] = _typed(hints[key], value)
        elif isinstance(value, list) and get_origin(hints[key]) is tuple:
            typed[key] = tuple(value)
    return kind(**typed)


class _Epoch:
    """Notes how long an epoch took."""

    seconds = 0.0

    def start(self, name: str, epochs: int, done: int, images: int) -> None:
        """A run begins."""

    def advance(self, images: int) -> None:
        """Images were trained on."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """The last epoch's seconds are kept."""
        self.seconds = float(row["seconds"])


class _Written(_Epoch):
    """Writes a row for each epoch."""

    def __init__(self, rows: Rows, config: RunConfig) -> None:
        self.rows, self.config = rows, config

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch is finished."""
        what = f"{self.config.name}, epoch {row['epoch']} of {self.config.epochs}: {row['test_accuracy']:.4f}"
        figures = {name: row[name] for name in COLUMNS if name in row}
        self.rows.add(what, MEASURED, run=self.config.name, epochs=self.config.epochs, **figures)
