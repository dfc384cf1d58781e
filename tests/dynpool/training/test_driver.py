"""The driver keeps all workers busy, lets runs wait for those they match, and closes the executor in the end."""

import json

import pytest

from dynpool.training.config import ComparisonConfig, RunConfig
from dynpool.training.config_file import run_config
from dynpool.training.driver import train_all
from dynpool.training.executors.events import Ended, Event, Failed
from dynpool.training.matching import Queue

METHODS = ("human", "scaled", "dynopool")
GRID = {"scaled": {"gmacs_budget": {"match": "dynopool"}}}


class Stub:
    """An executor whose runs end at once, in the reverse order of their start."""

    def __init__(self, workers, failing=()):
        self.workers, self.failing = workers, failing
        self.running: list[RunConfig] = []
        self.started: list[str] = []
        self.most = self.closed = 0

    def start(self, run):
        self.running.append(run)
        self.started.append(run.name)
        self.most = max(self.most, len(self.running))

    def wait(self, tell):
        run = self.running.pop()
        if run.name in self.failing:
            tell(Failed(run.name, "broken"))
            return
        run.folder.mkdir(parents=True)
        (run.folder / "done.json").write_text(json.dumps({"gmacs": 0.5}))
        tell(Ended(run.name, {}, str(run.folder)))

    def close(self):
        self.closed += 1


def queue(tmp_path, seeds=(0, 1)):
    config = ComparisonConfig(methods=METHODS, seeds=seeds, grid=GRID, alpha_until=0.5, out=str(tmp_path))
    return Queue([(run_config(config, point, seed), point) for seed in seeds for point in config.points()])


def test_all_runs_are_started_once_and_no_more_than_the_workers_at_a_time(tmp_path):
    told: list[Event] = []
    stub = Stub(2)
    assert train_all(queue(tmp_path), stub, told.append, resume=False) == {}
    assert sorted(stub.started) == sorted(event.run for event in told)
    assert len(set(stub.started)) == 6
    assert (stub.most, stub.closed) == (2, 1)
    for seed in (0, 1):
        assert stub.started.index(f"scaled-seed{seed}") > stub.started.index(f"dynopool-seed{seed}")


def test_runs_that_match_a_failed_one_fail_with_it(tmp_path):
    told: list[Event] = []
    stub = Stub(4, failing=["dynopool-seed1"])
    lost = "not trained, as it was to match the cost of dynopool-seed1"
    failed = {"dynopool-seed1": "broken", "scaled-seed1": lost}
    assert train_all(queue(tmp_path), stub, told.append, resume=False) == failed
    assert {event.run: event.reason for event in told if isinstance(event, Failed)} == failed
    assert "scaled-seed1" not in stub.started
    assert "scaled-seed0" in stub.started


def test_a_run_whose_cost_cannot_be_found_fails_alone(tmp_path):
    stub = Stub(1)

    def forget(event):
        if event.run == "dynopool-seed0" and isinstance(event, Ended):
            (tmp_path / "dynopool-seed0" / "done.json").unlink()

    failed = train_all(queue(tmp_path), stub, forget, resume=False)
    assert list(failed) == ["scaled-seed0"]
    assert failed["scaled-seed0"].endswith("has no results of a finished run, so its cost cannot be matched")
    assert "scaled-seed1" in stub.started


def test_the_executor_is_closed_after_an_interruption(tmp_path):
    stub = Stub(1)

    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(queue(tmp_path), stub, interrupt, resume=False)
    assert stub.closed == 1
