"""Runs are measured in processes as in one; an error of one run leaves the results of others."""

import json
import multiprocessing

import pytest

from dynpool.training.errors import ConfigError
from dynpool.training.inspection import InspectionOptions
from dynpool.training.inspection_parts import HessianOptions, PruningOptions
from dynpool.training.inspection_workers import Wanted, default_workers, measure, measure_runs
from dynpool.training.loop import train
from dynpool.training.subjects import subject_of_run
from tests.dynpool.training.runs import tiny_run

FAST = InspectionOptions(probes=False, images=40)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, widths in (("a", "[4,6]"), ("b", "[4,6,8]")):
        small = ("--epochs=1", "--data.resolution=8", f"--model.options.widths={widths}")
        train(tiny_run(folder / name, *small, "--method=human"))
    return [folder / "a", folder / "b"]


def test_all_parts_are_measured_and_kept(runs, tmp_path):
    wanted = Wanted(FAST, PruningOptions((0.5,), 0), HessianOptions(1, 20))
    subject = subject_of_run(runs[0])
    assert not measure(subject, wanted, tmp_path)
    assert measure(subject, wanted, tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    assert {"inspection.json", "pruning/pruning.json", "hessian/trained/hessian.json"} <= files
    assert not measure(subject, Wanted(FAST, PruningOptions((0.6,), 0)), tmp_path)


def test_processes_leave_the_same_results_also_where_one_fails(runs, tmp_path):
    alone = tmp_path / "alone"
    wanted = Wanted(InspectionOptions(probes=False, images=40, layers=("0", "13")))  # only "b" has a layer 13
    measure(subject_of_run(runs[1]), wanted, alone)
    seen = []
    folders = [(run, tmp_path / run.name) for run in runs]
    with pytest.raises(ConfigError, match=r"a: layers: the Sequential has no layer '13'"):
        measure_runs(folders, wanted, 2, lambda run, kept: seen.append((run, kept)))
    assert seen in ([], [(runs[1], False)])
    one, two = (json.loads((path / "inspection.json").read_text()) for path in (alone, tmp_path / "b"))
    assert one == two
    assert not multiprocessing.active_children()


def test_one_process_a_core_and_no_more_than_runs():
    assert default_workers(1) == 1
    assert 1 <= default_workers(1000) <= multiprocessing.cpu_count()
