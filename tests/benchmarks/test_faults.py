"""A short form of the harness of faults: no run is lost, and what it finds can be wrong."""

import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from benchmarks.fault_attempts import Attempt, config_of
from benchmarks.fault_checks import broken_files, differences
from benchmarks.faults import FAULTS, Harness, shares
from dynpool.training.checkpoint import last_path


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    return Harness(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", ["kill", "term", "power", "full", "read-only", "clock"])
def test_a_run_that_suffers_a_fault_is_as_if_it_had_not(harness, fault):
    found = harness.run(fault, seed=1001)
    assert found.faults > 0, "its first signal is to come after two thirds of a run at the latest"
    assert found.wrong == []
    assert found.lost <= found.save_steps


@pytest.mark.parametrize("damage", ["cut row", "other number", "cut checkpoint", "left over"])
def test_the_harness_finds_what_is_wrong(harness, tmp_path, damage):
    alone, _ = harness.alone(1)
    run = Path(shutil.copytree(alone, tmp_path / "run"))
    assert not [*broken_files(run), *differences(run, alone)]
    metrics = run / "metrics.csv"
    if damage == "cut row":
        metrics.write_text(metrics.read_text()[:-60])
    elif damage == "other number":
        metrics.write_text(metrics.read_text().replace("0,", "1,", 1))
    elif damage == "cut checkpoint":
        last_path(run).write_bytes(last_path(run).read_bytes()[:-100])
        assert list(broken_files(run))
        return
    else:
        (run / ".done.json.x.part").touch()
    assert list(differences(run, alone))


def test_it_works_in_a_process_in_which_autograd_has_had_threads(harness, tmp_path):
    def deep(x, calls=80):
        return checkpoint(deep, x, calls - 1, use_reentrant=True) if calls else x.sin()

    deep(torch.ones(2, requires_grad=True)).sum().backward()  # so many passes within passes take a thread
    assert Attempt(config_of(tmp_path / "run")).end() == [0]


def test_steps_are_counted_while_they_are_done(harness, tmp_path):
    trial = Attempt(config_of(tmp_path / "run"))
    assert trial.end() == [0]
    assert trial.steps.value == 16


def test_every_kind_has_its_share():
    plan = shares(200, list(FAULTS))
    assert len(plan) == len(set(plan)) == 200
    assert {name for name, _ in plan} == set(FAULTS)
    assert len(shares(6, ["kill", "full"])) == 6
