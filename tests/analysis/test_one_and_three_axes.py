"""Tracking, sensitivity, latency, reports and static refinement of networks of sequences and volumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.analysis.model_report import write_analysis
from dynpool.baselines import refine
from dynpool.baselines.refinement.plan import RefinementPlan
from tests.networks_of_axes import ResNet1d, UNet3d


class Volumes(nn.Sequential):
    """A small classifier of volumes."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(4, 8, 3, 2, 1), nn.ReLU(),
            nn.Conv3d(8, 8, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3),
        )  # fmt: skip


NETWORKS: dict[int, tuple[type[nn.Module], tuple[int, ...]]] = {1: (ResNet1d, (2, 96)), 3: (Volumes, (1, 8, 12, 20))}
both = pytest.mark.parametrize("axes", [1, 3])


def network(axes: int) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[axes][0]().eval()


@both
def test_a_log_line_has_sizes_strides_and_fields_for_each_axis(axes: int, tmp_path: Path) -> None:
    """The same as the model's own sizes, its MACs and the report of its receptive fields."""
    size = NETWORKS[axes][1]
    model = dynpool.convert(network(axes), size)
    tracker = IMinTracker(model, size, tmp_path / "i_min.jsonl")
    first = tracker.log(0)
    name = list(dynpool.resolutions(model))[-1]
    wanted = tuple(n + 1 for n in dynpool.sizes(model, size)[name])
    dynpool.set_sizes(model, {name: wanted})
    line = tracker.log(1)
    assert json.loads((tmp_path / "i_min.jsonl").read_text().splitlines()[1]) == line
    assert {key: tuple(n) for key, n in line["sizes"].items()} == dynpool.sizes(model, size)
    assert {len(v) for v in line["strides"].values()} == {axes}
    assert line["gmacs"] == pytest.approx(dynpool.count_macs(model, size).gmacs)
    assert line["gmacs"] > first["gmacs"]
    report = receptive_field(model, size)
    assert line["i_min"] == pytest.approx(list(report.i_min))
    assert line["i_max"] == pytest.approx(list(report.i_max))
    assert len(line["i_min"]) == axes


@both
def test_a_hand_placed_pool_is_tracked(axes: int, tmp_path: Path) -> None:
    conv, pool = (nn.Conv1d, dynpool.DynOPool1d) if axes == 1 else (nn.Conv3d, dynpool.DynOPool3d)
    model, size = nn.Sequential(conv(2, 4, 3, padding=1), pool(2.0), conv(4, 2, 3)), (2, *(12, 16, 20)[:axes])
    line = IMinTracker(model, size, tmp_path / "i_min.jsonl").log(0)
    assert line["sizes"]["1"] == [n // 2 for n in size[1:]]
    assert line["i_min"] == list(receptive_field(model, size).i_min)


@both
def test_receptive_fields_of_a_converted_network_are_those_of_the_design(axes: int, tmp_path: Path) -> None:
    """With order="before" and preserve=True nothing is resized, and at twice the strides fields grow."""
    size = NETWORKS[axes][1]
    model = network(axes)
    kept = dynpool.convert(model, size, preserve=True, order="before")
    designed = receptive_field(model, size)
    assert receptive_field(dynpool.freeze(kept), size).i_min == designed.i_min
    learned = dynpool.convert(model, size)
    at_first = receptive_field(learned, size)
    dynpool.set_sizes(learned, {name: tuple(max(n // 2, 2) for n in r.size or ()) for name, r in
                                list(dynpool.resolutions(learned).items())[:1]})  # fmt: skip
    report = receptive_field(learned, size)
    assert all(now > before for now, before in zip(report.i_min[-1:], at_first.i_min[-1:], strict=True))
    assert len(report.i_min) == axes
    assert ("length" if axes == 1 else "depth") in str(report) or "x" in str(report)
    write_analysis(learned, report, tmp_path, name="net")


@both
def test_sensitivity_is_measured_along_every_axis(axes: int, tmp_path: Path) -> None:
    """Differences are those of the losses of models with these sizes, gradients those that reach their alphas."""
    size = NETWORKS[axes][1]
    model = dynpool.convert(network(axes), size)
    batches = [(torch.randn(4, *size), torch.tensor([0, 1, 2, 0])) for _ in range(2)]
    report = dynpool.size_sensitivity(model, batches, steps=(1,))
    names = list(dynpool.resolutions(model))
    labels = {1: ["length"], 3: ["depth", "height", "width"]}[axes]
    assert [(row.name, row.axis) for row in report.rows] == [(name, axis) for name in names for axis in labels]
    held: dict[str, tuple[int, ...]] = {name: found.size or () for name, found in dynpool.resolutions(model).items()}

    def losses(sizes: dict[str, tuple[int, ...]]) -> float:
        dynpool.set_sizes(model, sizes)
        found = torch.stack([nn.functional.cross_entropy(model(images), target) for images, target in batches]).mean()
        model.zero_grad()
        found.backward()
        return found.item()

    now = losses(held)
    slopes = {
        name: found.alpha.grad.clone()
        for name, found in dynpool.resolutions(model).items()
        if found.alpha.grad is not None
    }
    sizes = [size[1:], *held.values()]
    for row in report.rows:
        axis, above = labels.index(row.axis), sizes[names.index(row.name)]
        assert row.size == held[row.name]
        assert row.differences
        for step, found in row.differences.items():
            moved = {**held, row.name: tuple(n + step * (a == axis) for a, n in enumerate(row.size))}
            assert found.mean == pytest.approx(losses(moved) - now, abs=1e-6)
        pixels = -(row.size[axis] ** 2) / above[axis]  # d size / d alpha = -above / alpha^2, alpha = above / size
        assert row.gradient is not None
        assert row.gradient.mean == pytest.approx(slopes[row.name][axis].item() / pixels, rel=1e-4, abs=1e-9)
        line = f"{row.name} {row.axis} {'x'.join(map(str, row.size))} "
        assert any(" ".join(said.split()).startswith(line) for said in str(report).splitlines())
    report.write(tmp_path)


@both
def test_a_latency_model_has_a_gradient_to_every_axis(axes: int) -> None:
    size = NETWORKS[axes][1]
    model = dynpool.convert(network(axes), size)
    latency = dynpool.LatencyModel(model, size, configurations=4, repeats=1)
    latency().backward()
    for found in dynpool.resolutions(model).values():
        assert found.alpha.grad is not None
        assert found.alpha.grad.shape == (axes,)
    assert {len(n) for n in latency.check(1)[0].sizes.values()} == {axes}


DEEP: dict[int, tuple[nn.Module, tuple[int, ...]]] = {
    1: (
        nn.Sequential(
            nn.Conv1d(2, 4, 5, 2, 2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 4, 5, padding=2),
            nn.Conv1d(4, 4, 5, padding=2), nn.Conv1d(4, 8, 5, 2, padding=2), nn.Conv1d(8, 8, 3, padding=1),
        ),
        (2, 64),
    ),
    3: (
        nn.Sequential(
            nn.Conv3d(1, 4, 3, 2, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(4, 8, 3, padding=1),
            nn.Conv3d(8, 8, 3, padding=1), nn.Conv3d(8, 8, 3, padding=1),
        ),
        (1, 16, 24, 24),
    ),
}  # fmt: skip


@both
def test_static_refinement_brings_i_min_below_the_input_along_every_axis(axes: int) -> None:
    model, size = DEEP[axes]
    before = receptive_field(model, size)
    assert any(r >= n for r, n in zip(before.i_min, size[1:], strict=True))
    refined, plan = refine(model, size)
    after = receptive_field(refined, size)
    assert plan.reached
    assert plan.i_min_after == after.i_min
    assert all(r < n for r, n in zip(after.i_min, size[1:], strict=True))
    assert plan.gmacs_after == pytest.approx(dynpool.count_macs(refined, size).gmacs)
    assert refined.state_dict().keys() == model.state_dict().keys()
    again = RefinementPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert receptive_field(again.apply(model), size).i_min == after.i_min
    assert "I_res" in str(plan)


@both
def test_shorter_and_wider_works_along_any_axes(axes: int) -> None:
    model, size = DEEP[axes]
    refined, plan = refine(model, size, way="shorter and wider")
    assert plan.reached, plan
    assert all(r < n for r, n in zip(receptive_field(refined, size).i_min, size[1:], strict=True))


def test_a_u_net_of_volumes_is_refined_or_says_why_not() -> None:
    _, plan = refine(UNet3d(), (1, 16, 16, 16))
    assert plan.reached or plan.why
