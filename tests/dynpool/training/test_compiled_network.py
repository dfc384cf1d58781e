"""A network is compiled once its sizes stay, and one that cannot be compiled says how to continue."""

import json

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

import dynpool
from dynpool.training.errors import ConfigError, TrainingError
from dynpool.training.loop import train
from tests.dynpool.training.runs import rows, tiny_run


def test_the_network_is_compiled_once_its_sizes_stay(tmp_path, monkeypatch):
    compiled = []

    def compile_(model):
        compiled.append(dict(dynpool.sizes(model, (1, 16, 16))))
        return model

    monkeypatch.setattr(torch, "compile", compile_)
    train(tiny_run(tmp_path / "learned", "--compile=true", "--alpha_until=0.5"))
    last = json.loads(rows(tmp_path / "learned")[-1]["sizes"])
    assert [list(map(list, sizes.values())) for sizes in compiled] == [list(last.values())]
    train(tiny_run(tmp_path / "human", "--compile=true", "--method=human", "--epochs=1"))
    assert len(compiled) == 2
    with pytest.raises(ConfigError, match=r"compile is True; allowed: false, unless alpha_until is below 1"):
        tiny_run(tmp_path, "--compile=true")


def test_a_network_that_cannot_be_compiled_says_how_to_continue(tmp_path, monkeypatch):
    def compile_(_):
        def compiled(_):
            raise BackendCompilerFailed(compile_, OSError("no compiler"), None)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    options = ["--method=human", "--epochs=1", "--data.test_fraction=0.9"]
    with pytest.raises(TrainingError, match=r"torch.compile cannot compile the network: .*--resume --compile false"):
        train(tiny_run(tmp_path, *options, "--compile=true"))
    monkeypatch.undo()
    train(tiny_run(tmp_path, *options), resume=True)
    assert len(rows(tmp_path)) == 2
