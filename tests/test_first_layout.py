"""What was saved before the modules were arranged in packages still loads, and public names are where they were."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch

import dynpool
from dynpool import analysis, baselines
from dynpool.analysis.common.checksums import CHECKSUM
from dynpool.cli import main
from tests.networks import two_resizers

SAVED = Path(__file__).parent / "data" / "first_layout"
SIZE = (3, 32, 32)
SIZES = {  # of the resolutions "1" and "2", and the sum of the outputs for an image of ones
    "dynopool": ([(15, 15), (7, 7)], 0.0135696),
    "before": ([(15, 15), (7, 7)], 0.0121104),
    "diffstride": ([(24, 24), (20, 20)], 0.0692765),
    "shape_adaptor": ([(17, 17), (9, 9)], 0.0170966),
}


@pytest.mark.parametrize("name", SIZES)
def test_converted_models_load(name: str) -> None:
    model = dynpool.load(two_resizers(), SAVED / f"{name}.pt").eval()
    sizes, total = SIZES[name]
    assert list(dynpool.sizes(model, SIZE).values())[1:] == sizes
    assert float(model(torch.ones(1, *SIZE)).detach().double().sum()) == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("name", SIZES)
def test_their_state_dicts_load_strictly_into_models_converted_now(name: str) -> None:
    how = {
        "dynopool": {},
        "before": {"order": "before", "preserve": True},
        "diffstride": {"pool": baselines.DiffStride2d},
        "shape_adaptor": {"pool": baselines.ShapeAdaptor2d},
    }
    model = dynpool.convert(two_resizers(), SIZE, **how[name])  # type: ignore[arg-type]
    model.load_state_dict(torch.load(SAVED / f"{name}.pt", weights_only=True))
    assert list(dynpool.sizes(model, SIZE).values())[1:] == SIZES[name][0]


def test_a_frozen_state_dict_loads() -> None:
    frozen = dynpool.load(two_resizers(), SAVED / "frozen.pt")
    assert list(dynpool.sizes(frozen, SIZE).values())[1:] == SIZES["shape_adaptor"][0]


def test_a_run_is_read_analysed_and_continued(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(SAVED / "run", run)
    assert main(["analyze", "--run", str(run), "--out", str(tmp_path / "fields")]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "report.html").exists()
    with (run / "metrics.csv").open(newline="") as file:
        before = list(csv.DictReader(file))
    (run / "done.json").unlink()
    assert main(["train", str(run / "config.yaml"), "--out", str(run), "--resume"]) == 0
    assert (run / "done.json").exists()
    with (run / "metrics.csv").open(newline="") as file:
        after = list(csv.DictReader(file))
    assert [{k: row[k] for k in before[0] if k != CHECKSUM} for row in after] == [
        {k: v for k, v in row.items() if k != CHECKSUM} for row in before
    ]


def test_public_names_are_there() -> None:
    names = {
        dynpool: "Chain ConversionReport DynOPool DynOPool2d FixedPool2d FreezeReport GMACsLoss Graph LearnedResizer2d "
        "MacsReport Plan Resolution Site constrain conversion_report convert count_macs dynopool2d freeze "
        "freeze_report load parameter_groups register_kind resolutions save set_sizes sizes trace",
        analysis: "Comparison EffectiveField IMinTracker compare_runs effective_receptive_field receptive_field "
        "write_report",
        baselines: "DiffStride2d Edit EveryFewSteps FixedDiffStride2d FixedShapeAdaptor2d FixedSpectralPooling2d "
        "PublishedEdit RefinementPlan ShapeAdaptor2d alpha_optimizer diffstride2d initial_alpha published_edits refine "
        "shape_adaptor2d shape_adaptor_network",
    }
    for package, listed in names.items():
        assert set(listed.split()) <= set(package.__all__)
        for name in listed.split():
            assert callable(getattr(package, name)), name
