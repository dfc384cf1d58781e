"""Runs that torchrun starts again after a process has ended: they continue by themselves."""

import os
import platform
from collections.abc import Callable
from typing import Any

import torch.distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

__all__ = ["continues", "join_attempt", "launch"]


def launch() -> str | None:
    """What is the same in all attempts of one torchrun and differs from every other; None without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    run = os.environ["TORCHELASTIC_RUN_ID"]
    if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 and run != "none":
        return run
    return f"{run} {platform.node()} {os.getppid()}"  # the parent is the agent, which outlives its attempts


def attempt() -> int:
    """How many times torchrun has started the processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def join_attempt(backend: str) -> None:
    """Have the processes of a later attempt find each other, and not what an earlier one left in torchrun's store."""
    if attempt() == 0 or torch.distributed.is_initialized():
        return
    store, rank, processes = next(rendezvous("env://"))
    store = PrefixStore(f"attempt {attempt()}", store)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=processes)


def continues(sessions: Callable[[], list[Any]]) -> bool:
    """Whether this is a later attempt of the torchrun that the run in the folder was started by.

    Args:
        sessions: gives those of the run in the folder (`RunFolder.sessions`).
    """
    if attempt() == 0:
        return False
    last = sessions()[-1:]
    return bool(last) and isinstance(last[0], dict) and last[0].get("launch") == launch()
