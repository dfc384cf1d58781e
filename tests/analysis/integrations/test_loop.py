"""LoopTracker: which steps and which model are logged, and that alphas stay in bounds."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dynpool.analysis.integrations.loop import LoopTracker, unwrapped

SIZE = (3, 16, 12)


def steps(log):
    return [line["step"] for line in log]


def test_every_third_step(network, tmp_path, read_log):
    loop = LoopTracker(SIZE, tmp_path / "log", every=3)
    loop.start(network, 0, log=True)
    returned = [loop.after_step(step) for step in range(1, 8)]
    loop.after_epoch(7)
    assert [step for step, line in enumerate(returned, 1) if line is not None] == [3, 6]
    assert steps(read_log(tmp_path / "log")) == [0, 3, 6]


def test_every_epoch_by_default_and_a_resumed_run_goes_on(network, tmp_path, read_log):
    loop = LoopTracker(SIZE, tmp_path / "log")
    loop.start(network, 5, log=True)
    for step in (6, 7):
        loop.after_step(step)
    loop.after_epoch(7)
    log = read_log(tmp_path / "log")
    assert steps(log) == [5, 7]
    assert log[0]["i_min"] == [8.0, 8.0]


def test_alphas_stay_in_bounds_only_if_asked(network, tmp_path):
    for constrain in (True, False):
        model = copy.deepcopy(network)
        loop = LoopTracker(SIZE, tmp_path / f"{constrain}", constrain=constrain)
        loop.start(model, 0, log=False)
        with torch.no_grad():
            model[2].alpha.fill_(-1e5)
        loop.after_step(0)  # gradients were accumulated, nothing moved
        assert model[2].alpha[0] == -1e5
        loop.after_step(1)
        assert (model[2].alpha[0] > 0) == constrain
        assert not (tmp_path / f"{constrain}").exists(), "this process does not log"


def test_wrapped_models_and_submodules(network, tmp_path, read_log):
    compiled: Any = torch.compile(network, backend="eager")
    assert unwrapped(nn.DataParallel(compiled)) is network
    outer = nn.ModuleDict({"backbone": network})
    LoopTracker(SIZE, tmp_path / "log", module="backbone").start(outer, 0, log=True)
    assert read_log(tmp_path / "log")[0]["i_min"] == [8.0, 8.0]
    with pytest.raises(ValueError, match="ModuleDict has no module 'backbon'; did you mean 'backbone'"):
        LoopTracker(SIZE, tmp_path / "log", module="backbon").start(outer, 0, log=True)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="every must be None or at least 1 step, got 0"):
        LoopTracker(SIZE, tmp_path / "log", every=0)
    with pytest.raises(ValueError, match="input_size"):
        LoopTracker((3,), tmp_path / "log")
