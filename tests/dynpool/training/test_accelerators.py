"""The device of a run is the one asked for, or an error says which there are."""

from dataclasses import replace

import pytest
import torch

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
