"""Automatic continuation of runs that torchrun restarts after a process has failed."""

import os
import platform
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

__all__ = ["continues", "join_attempt", "launch"]


def launch() -> str | None:
    """An identifier of one torchrun launch, the same in all its attempts; None without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    run = os.environ["TORCHELASTIC_RUN_ID"]
    if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 and run != "none":
        return run
    return f"{run} {platform.node()} {os.getppid()}"  # the parent is the agent, which outlives its attempts


def attempt() -> int:
    """The number of times that torchrun has restarted the processes."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def join_attempt(backend: str, timeout: timedelta) -> None:
    """Initialise the process group of a restart with its own prefix in torchrun's store, which keeps old entries."""
    if attempt() == 0 or torch.distributed.is_initialized():
        return
    store, rank, processes = next(rendezvous("env://"))
    store = PrefixStore(f"attempt {attempt()}", store)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=timeout)


def continues(sessions: Callable[[], list[Any]]) -> bool:
    """Whether this is a restart by the same torchrun launch that started the run in the folder.

    Args:
        sessions: returns the sessions of the run in the folder (`RunFolder.sessions`).
    """
    if attempt() == 0:
        return False
    last = sessions()[-1:]
    return bool(last) and isinstance(last[0], dict) and last[0].get("launch") == launch()
