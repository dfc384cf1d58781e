"""Synthetic run folders like those of training runs, deterministic but different for each seed."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dynpool.analysis.common.checksums import CHECKSUM, with_checksum

COLUMNS = (
    "epoch train_loss task_loss gmacs_loss train_accuracy test_loss test_accuracy gmacs sizes alphas strides i_min_h "
    "i_min_w i_max_h i_max_w i_max_local_h i_max_local_w unproductive behind_global lr alpha_lr parameters seconds "
    "images_per_second peak_memory"
).split()
NAMES = ("features.2", "features.5", "features.8")
# The strides (height, width) of the three resolutions that the runs of each seed end at.
LEARNED = {
    0: ((1.4, 1.6), (1.9, 1.5), (2.2, 1.8)),
    1: ((1.5, 1.3), (2.0, 1.6), (1.8, 1.9)),
    2: ((2.3, 1.7), (1.6, 2.0), (1.5, 1.5)),
}

WriteRun = Callable[..., Path]


def _write_run(
    folder: Path,
    method: str = "dynopool",
    seed: int = 0,
    *,
    epochs: int = 16,
    planned: int | None = None,
    learns: bool | None = None,
    final: float | None = None,
    i_min: float | None = None,
    behind_global: int = 0,
    input_size: tuple[int, int, int] = (1, 32, 32),
    checksums: bool = True,
    **config: object,
) -> Path:
    """A run folder of `epochs` finished epochs, its accuracy rising to `final` and its alphas moving to `LEARNED`.

    Without `checksums` its rows are as an earlier version wrote them.
    """
    learns = method != "human" if learns is None else learns
    top = final if final is not None else (0.90 if learns else 0.83) + 0.01 * (seed - 1)
    folder.mkdir(parents=True)
    settings: dict[str, object] = {
        "name": f"{method}-seed{seed}",
        "method": method,
        "seed": seed,
        "input_size": list(input_size),
        "model": {"name": "narrow-vgg", "options": {}},
        "data": {"name": "digits", "variant": "tile", "resolution": input_size[1]},
        "epochs": planned or epochs,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | config, sort_keys=False))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, CHECKSUM] if checksums else COLUMNS, lineterminator="\n")
        writer.writeheader()
        for epoch in range(epochs + 1):
            done = 1 - math.exp(-epoch / 4)
            targets = LEARNED[seed % 3] if learns else ((2.0, 2.0),) * 3
            alphas = [[2 + (target - 2) * done for target in pair] for pair in targets]
            sizes = [[input_size[1], input_size[2]]]
            for pair in alphas:
                sizes.append([round(max(side / alpha, 1.5)) for side, alpha in zip(sizes[-1], pair, strict=True)])
            steps = [[math.prod(pair[axis] for pair in alphas[:count]) for count in range(4)] for axis in (0, 1)]
            reach = [1 + 4 * sum(products) for products in steps] if i_min is None else [i_min, i_min]
            accuracy = top if epoch == epochs else top * (1 - 0.9 * math.exp(-epoch / 3))
            row: dict[str, object] = {
                "epoch": epoch,
                "test_loss": 2.3 * (1 - done) + 0.3,
                "test_accuracy": accuracy,
                "gmacs": sum(height * width for height, width in sizes) * 1e-6,
                "sizes": json.dumps(dict(zip(("input", *NAMES), sizes, strict=True))),
                "alphas": json.dumps(dict(zip(NAMES, alphas, strict=True)) if learns else {}),
                "strides": json.dumps(dict(zip(NAMES, alphas, strict=True)) if learns else {}),
                "i_min_h": reach[0],
                "i_min_w": reach[1],
                "i_max_h": "inf",
                "i_max_w": "inf",
                "i_max_local_h": reach[0] + 8,
                "i_max_local_w": reach[1] + 8,
                "unproductive": 1 if learns else 2,
                "behind_global": behind_global,
                "lr": 0.1,
                "alpha_lr": 0.3,
                "parameters": 12346 if learns else 12340,
                "peak_memory": (60 if learns else 40) * 10**6 + seed,
            }
            if epoch:
                row |= {"train_loss": 2.3 * (1 - done) + 0.1, "train_accuracy": accuracy, "seconds": 3 + seed / 10}
            cells = {column: str(row.get(column, "")) for column in COLUMNS}
            writer.writerow(with_checksum(cells) if checksums else cells)
    return folder


@pytest.fixture
def write_run() -> WriteRun:
    """The function that writes a run folder: write_run(folder, method, seed, *, epochs, planned, ...)."""
    return _write_run


@pytest.fixture
def comparison_folder(tmp_path: Path) -> Path:
    """A comparison's folder: human and dynopool, three seeds each, 16 epochs."""
    folder = tmp_path / "comparison"
    for method in ("human", "dynopool"):
        for seed in range(3):
            _write_run(folder / f"{method}-seed{seed}", method, seed)
    return folder
