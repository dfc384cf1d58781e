"""Milliseconds of a run: figures of every epoch, a term of the loss, and a budget that is met as predicted."""

import csv
import re

import pytest
import torch
from torch import nn

from dynpool.analysis.comparison import compare_runs
from dynpool.training import checkpoint as checkpoints
from dynpool.training import latency as latency_module
from dynpool.training.errors import ConfigError
from dynpool.training.latency import RunLatency
from dynpool.training.loop import train
from dynpool.training.methods import prepare
from tests.dynpool.training.runs import AIMED, assert_same_run, latency_started, rows, tiny_run

SIZE = (1, 16, 16)
CPU = torch.device("cpu")
TIMES = ("latency_ms", "predicted_ms")


def without_times(run):
    return [{name: cell for name, cell in row.items() if name not in TIMES} for row in rows(run)]


def test_what_is_only_measured_changes_nothing_else(tmp_path):
    for name, options in (("plain", ()), ("timed", ("--latency.measure=true", "--latency.repeats=1"))):
        train(tiny_run(tmp_path / name, "--epochs=1", *options))
    assert without_times(tmp_path / "plain") == without_times(tmp_path / "timed")
    with (tmp_path / "timed" / "metrics.csv").open(newline="") as file:
        timed = list(csv.DictReader(file))
    assert all(float(row["latency_ms"]) > 0 and row["predicted_ms"] == "" for row in timed)
    assert {row["latency_ms"] for row in rows(tmp_path / "plain")} == {""}


def test_the_median_of_passes_with_the_batch_counts(model, tiny, monkeypatch):
    seen = []
    seconds = iter([0.5, 0.002, 0.001])

    def timed(run, device):
        run()
        return next(seconds)

    monkeypatch.setattr(latency_module, "seconds_of", timed)
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda m, args: seen.append(args[0].shape))
    latency = RunLatency(model, tiny("--latency.batch", "3", "--latency.repeats", "3"), SIZE, predicted=False)
    try:
        assert latency.measured() == pytest.approx(2.0)
    finally:
        handle.remove()
    assert seen.count((3, *SIZE)) >= 4, "one pass more to warm up"


@pytest.mark.parametrize("last", [False, True])
def test_passes_have_the_memory_format_of_the_run(model, tiny, last):
    seen = []
    options = ("--latency.repeats", "1", "--latency.batch", "2", "--channels_last", str(last).lower())
    latency = RunLatency(nn.Sequential(nn.Conv2d(3, 3, 1)), tiny(*options), (3, 8, 8), predicted=False)
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda m, args: seen.append(args[0].stride()))
    try:
        latency.measured()
    finally:
        handle.remove()
    assert {stride[1] for stride in seen} == {1 if last else 64}


def test_a_resumed_run_goes_on_with_the_measurements_that_it_had(tmp_path, device):
    options = ("--latency.weight=0.1", "--latency.repeats=1", "--latency.configurations=5")
    train(tiny_run(tmp_path / "straight", *options))
    config = tiny_run(tmp_path / "resumed", *options)
    train(config)
    for path in (tmp_path / "resumed").glob("checkpoints/*.pt"):
        if path.name not in ("epoch-0002.pt",):
            path.unlink()
    (tmp_path / "resumed" / "done.json").unlink()
    measured = list(device)
    train(config, resume=True)
    assert device == measured, "nothing is measured again"
    kept = checkpoints.load(checkpoints.last_path(tmp_path / "resumed")).latency
    assert kept is not None
    assert kept["batch"] == 1
    before, after = (rows(tmp_path / name) for name in ("straight", "resumed"))
    assert [row["predicted_ms"] for row in before] == [row["predicted_ms"] for row in after]
    for run in ("straight", "resumed"):  # passes of the real device differ
        text = (tmp_path / run / "metrics.csv").read_text()
        (tmp_path / run / "metrics.csv").write_text(re.sub(r",[\d.e-]+,([\d.e-]+,\w+)$", r",,\1", text, flags=re.M))
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")


def test_a_budget_out_of_reach_is_an_error_that_leaves_no_run(tmp_path, device):
    config = tiny_run(tmp_path / "run", "--latency.budget=1e-6", *AIMED)
    with pytest.raises(ConfigError, match=r"latency: latency.budget is 1e-06, which is out of reach: .* ms"):
        train(config)
    train(tiny_run(tmp_path / "run", "--epochs=1"))


def test_a_budget_that_was_accepted_is_not_refused_by_later_measurements(model, tiny, device):
    config = tiny("--latency.budget", "1e-6", *AIMED)
    _, other = latency_started(model, tiny("--latency.weight", "1", *AIMED), SIZE)
    prepared = prepare(model, config, SIZE)
    assert prepared.latency is not None
    with pytest.raises(ConfigError, match="out of reach"):
        prepared.latency.start(CPU, 1)
    prepared.latency.start(CPU, 1, other.to_dict())
    assert prepared.latency.pull() > 0


def test_processes_share_the_measurements_of_the_first(model, tiny, device, monkeypatch):
    config = tiny("--latency.weight", "1", *AIMED)
    _, first = latency_started(model, config, SIZE)
    given = first.to_dict()
    assert given is not None
    for rank in (0, 1):
        sent: list[object] = []

        def broadcast(found, sent=sent, rank=rank):
            sent.extend(found)
            if rank == 1:
                found[0] = given

        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(latency_module, "broadcast_object_list", broadcast)
        prepared = prepare(model, config, SIZE)
        assert prepared.latency is not None
        prepared.latency.start(CPU, 2)
        assert sent == [None if rank else given]
        assert prepared.latency.to_dict() == given
    monkeypatch.setattr(latency_module, "broadcast_object_list", lambda found: found.__setitem__(0, "no pass"))
    prepared = prepare(model, config, SIZE)
    assert prepared.latency is not None
    with pytest.raises(ConfigError, match="latency: no pass"):
        prepared.latency.start(CPU, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--latency.budget", "0"), r"latency.budget is 0.0; allowed: null, or a finite number above 0"),
        (("--latency.budget", "3"), r"alpha_until is 1.0; allowed: a number below 1 if gmacs_budget or latency.budget"),
        (
            ("--latency.budget", "3", "--gmacs_budget", "1", "--alpha_until", "0.5"),
            r"latency.budget is 3.0; allowed: null where gmacs_budget is set",
        ),
        (("--latency.weight", "-1"), r"latency.weight is -1.0"),
        (("--latency.batch", "0"), r"latency.batch is 0; allowed: a whole number, 1 or more"),
        (("--latency.configurations", "3"), r"latency.configurations is 3; allowed: a whole number, 4 or more"),
    ],
)
def test_bad_settings_are_refused(tiny, options, message):
    with pytest.raises(ConfigError, match=message):
        tiny(*options)


def test_before_it_is_started_it_says_so(model, tiny):
    latency = RunLatency(model, tiny("--latency.weight", "1"), SIZE, predicted=True)
    with pytest.raises(RuntimeError, match="call start first"):
        latency.value()
    with pytest.raises(RuntimeError, match="no budget of milliseconds"):
        latency.pull()


def test_reports_have_a_column_of_milliseconds_where_a_run_has_them(tmp_path):
    for name, options in (("plain", ()), ("timed", ("--latency.measure=true", "--latency.repeats=1"))):
        train(tiny_run(tmp_path / name, "--epochs=1", *options))
    heads = [str(compare_runs([tmp_path / name])).partition("MMACs  ")[2][:20] for name in ("plain", "timed")]
    assert ["ms" in head for head in heads] == [False, True]
    assert compare_runs([tmp_path / "timed"]).rows[0].latency_ms is not None
