"""The device of a run is the one asked for, or an error says which there are."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.distributed

from dynpool.training import accelerators
from dynpool.training.accelerators import accelerator_for, peers
from dynpool.training.config import RunConfig
from dynpool.training.errors import ConfigError, PeerError


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


@pytest.mark.parametrize(
    ("text", "processes", "lost"), [("gloo: closed", 2, True), ("gloo", 1, False), ("no", 2, False)]
)
def test_a_process_that_has_lost_another_says_how_to_continue(text: str, processes: int, lost: bool) -> None:
    said = "continue with --resume" if lost else f"^{text}$"
    with pytest.raises(PeerError if lost else RuntimeError, match=said), peers(RunConfig(), processes):
        raise RuntimeError(text)


def test_so_does_one_that_loses_it_before_they_have_met(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(**options: object) -> None:
        raise torch.distributed.DistNetworkError("Failed to recv, got 0 bytes")

    monkeypatch.setattr(accelerators, "Accelerator", lost)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PeerError, match=r"another process of the run has ended.*0 bytes.*continue with --resume"):
        accelerator_for(RunConfig(device="cpu"))
