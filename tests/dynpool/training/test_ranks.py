"""What the processes of a run share, and what tells that they no longer have the same sizes."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import IMinTracker
from dynpool.training.errors import PeerError
from dynpool.training.ranks import Ranks
from dynpool.training.stop import Stop
from tests.dynpool.training.runs import TINY_OPTIONS

SIZE = (1, 16, 16)


def accelerator(device: str = "cuda", processes: int = 2) -> SimpleNamespace:
    """An accelerator of processes that are not there."""
    return SimpleNamespace(device=torch.device(device), num_processes=processes, is_main_process=True)


def test_batch_norms_are_synchronised_in_place_with_the_same_weights(model, tiny, tmp_path):
    converted = dynpool.convert(model, SIZE)
    tracker = IMinTracker(converted, SIZE, tmp_path / "i_min.jsonl")
    weights, names = list(converted.parameters()), list(converted.state_dict())
    before = tracker.log(0)
    Ranks(accelerator(), tiny("--sync_batch_norm", "true"), converted, [])
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
        Ranks(accelerator(processes=processes), tiny(*options), model, [])
        assert nn.SyncBatchNorm not in {type(module) for module in model.modules()}


def test_the_mark_of_sizes_changes_with_any_alpha(model, tiny):
    converted = dynpool.convert(model, SIZE)
    ranks = Ranks(accelerator("cpu"), tiny(), converted, [])
    before = ranks.mark_of_sizes()
    assert before == ranks.mark_of_sizes() > 0
    alphas = [resolution.alpha for resolution in dynpool.resolutions(converted).values()]
    marks = {before}
    for alpha in alphas:
        with torch.no_grad():
            alpha[1] += 1e-6
        marks.add(ranks.mark_of_sizes())
    assert len(marks) == 1 + len(alphas)
    assert Ranks(accelerator("cpu", 1), tiny(), converted, []).mark_of_sizes() == 0
    assert Ranks(accelerator("cpu"), tiny(), model, []).mark_of_sizes() == 0


@pytest.mark.parametrize(("other", "same"), [(5, True), (4, False), (6, False)])
def test_processes_of_other_sizes_end_the_run(monkeypatch, other, same):
    def reduce(numbers, operation, group):
        numbers.copy_(torch.maximum(numbers, torch.tensor([0, other, -other])))

    monkeypatch.setattr(torch.distributed, "new_group", lambda backend, timeout: "group")
    monkeypatch.setattr(torch.distributed, "all_reduce", reduce)
    stop = Stop()
    stop.join(2, 60)
    if same:
        assert not stop.asked(5)
        return
    with pytest.raises(PeerError, match="no longer have the same learned sizes; the finished epochs are saved"):
        stop.asked(5)


HANGING = """\
import os, signal, sys
from dynpool.training import loop, run
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.errors import PeerError

asked = run.Run._stop_if_asked

def hanging(self, progress):
    if os.environ["RANK"] == "1" and (progress.epoch, progress.step) == (1, 2):
        os.kill(os.getpid(), signal.SIGSTOP)
    return asked(self, progress)

run.Run._stop_if_asked = hanging
try:
    loop.train(load_config(RunConfig, None, sys.argv[1:])[0])
except PeerError as error:
    print(error, flush=True)
    os._exit(3)
"""


def test_a_process_that_hangs_is_an_error_in_the_others(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    options = [*TINY_OPTIONS, "--peer_timeout=4", "--out", str(tmp_path / "run")]
    processes = []
    for rank in ("0", "1"):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        command = [sys.executable, "-c", HANGING, *options]
        environment = {**os.environ, **ranks, "OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    try:
        said, _ = processes[0].communicate(timeout=240)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert processes[0].returncode == 3
    assert "has not answered for 4 seconds (peer_timeout)" in said
