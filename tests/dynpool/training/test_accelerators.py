"""The device of a run is the one asked for, or an error says which there are."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dynpool.training import accelerators
from dynpool.training.accelerators import accelerator_for
from dynpool.training.config import RunConfig
from dynpool.training.errors import ConfigError


def test_a_run_is_on_the_device_it_asks_for() -> None:
    config = RunConfig(device="cpu")
    assert accelerator_for(config).device == torch.device("cpu")
    assert accelerator_for(config).num_processes == 1
    if not torch.cuda.is_available():
        assert accelerator_for(replace(config, device="auto")).device == torch.device("cpu")
        with pytest.raises(ConfigError, match=r"device is 'cuda', but PyTorch finds no GPU; allowed here: auto, cpu"):
            accelerator_for(replace(config, device="cuda"))


def test_cpus_have_no_synchronised_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(device="cpu", sync_batch_norm=True)
    assert accelerator_for(config).num_processes == 1, "alone there is nothing to synchronise"
    two = SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    monkeypatch.setattr(accelerators, "Accelerator", lambda **options: two)
    with pytest.raises(ConfigError, match="sync_batch_norm is true; allowed on CPUs: false"):
        accelerator_for(config)
    assert accelerator_for(replace(config, sync_batch_norm=False)) is two
