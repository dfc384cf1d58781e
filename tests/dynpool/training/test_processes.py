"""What the processes of a run share, and what tells that they no longer have the same sizes."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import IMinTracker
from dynpool.training.errors import ConfigError, PeerError
from dynpool.training.processes import Processes
from dynpool.training.stop import Stop

SIZE = (1, 16, 16)


def accelerator(device: str = "cuda", processes: int = 2) -> SimpleNamespace:
    """An accelerator of processes that are not there."""
    return SimpleNamespace(device=torch.device(device), num_processes=processes, is_main_process=True)


def test_batch_norms_are_synchronised_in_place_with_the_same_weights(model, tiny, tmp_path):
    converted = dynpool.convert(model, SIZE)
    tracker = IMinTracker(converted, SIZE, tmp_path / "i_min.jsonl")
    weights, names = list(converted.parameters()), list(converted.state_dict())
    before = tracker.log(0)
    Processes(accelerator(), tiny("--sync_batch_norm", "true"), converted, [])
    kinds = {type(module) for module in converted.modules()}
    assert nn.SyncBatchNorm in kinds
    assert nn.BatchNorm2d not in kinds
    assert all(a is b for a, b in zip(converted.parameters(), weights, strict=True))
    assert list(converted.state_dict()) == names
    dynpool.set_sizes(converted, {"3": (7, 6)})
    assert tracker.log(1)["sizes"] != before["sizes"]
    converted(torch.randn(2, *SIZE)).sum().backward()


def test_alone_or_unasked_batch_norms_stay(model, tiny):
    for options, processes in ((["--sync_batch_norm", "true"], 1), ([], 2)):
        Processes(accelerator(processes=processes), tiny(*options), model, [])
        assert nn.SyncBatchNorm not in {type(module) for module in model.modules()}


def test_cpus_have_no_synchronised_batch_norm(model, tiny):
    with pytest.raises(ConfigError, match="sync_batch_norm is true; allowed on CPUs: false"):
        Processes(accelerator("cpu"), tiny("--sync_batch_norm", "true"), model, [])


def test_the_mark_of_sizes_changes_with_any_alpha(model, tiny):
    converted = dynpool.convert(model, SIZE)
    processes = Processes(accelerator("cpu"), tiny(), converted, [])
    before = processes.mark_of_sizes()
    assert before == processes.mark_of_sizes() > 0
    alphas = [resolution.alpha for resolution in dynpool.resolutions(converted).values()]
    marks = {before}
    for alpha in alphas:
        with torch.no_grad():
            alpha[1] += 1e-6
        marks.add(processes.mark_of_sizes())
    assert len(marks) == 1 + len(alphas)
    assert Processes(accelerator("cpu", 1), tiny(), converted, []).mark_of_sizes() == 0
    assert Processes(accelerator("cpu"), tiny(), model, []).mark_of_sizes() == 0


@pytest.mark.parametrize(("other", "same"), [(5, True), (4, False), (6, False)])
def test_processes_of_other_sizes_end_the_run(monkeypatch, other, same):
    def reduce(numbers, operation, group):
        numbers.copy_(torch.maximum(numbers, torch.tensor([0, other, -other])))

    monkeypatch.setattr(torch.distributed, "new_group", lambda backend: "group")
    monkeypatch.setattr(torch.distributed, "all_reduce", reduce)
    stop = Stop()
    stop.join(2)
    if same:
        assert not stop.asked(5)
        return
    with pytest.raises(PeerError, match="no longer have the same learned sizes; the finished epochs are saved"):
        stop.asked(5)
