"""The device and the processes of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from .config import RunConfig
from .errors import ConfigError, PeerError
from .restarts import join_attempt
from .stop import FINISHED

__all__ = ["accelerator_for", "peers"]


def accelerator_for(config: RunConfig) -> Accelerator:
    """accelerate's handle of the device, the processes and the precision of a run.

    Raises:
        ConfigError: if there is no such device, or it does not have the precision, or synchronised batch norm.
        PeerError: if another process of the run has ended before all have met.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but PyTorch finds no GPU; allowed here: auto, cpu")
    cpu = config.device == "cpu" or ("LOCAL_RANK" in os.environ and not torch.cuda.is_available())
    timeout = timedelta(seconds=config.peer_timeout)
    with peers(config, int(os.environ.get("WORLD_SIZE", "1"))):
        join_attempt("gloo" if cpu else "nccl", timeout)
        try:
            handlers = [InitProcessGroupKwargs(timeout=timeout)]
            accelerator = Accelerator(cpu=cpu, mixed_precision=config.precision, kwargs_handlers=handlers)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"device {config.device!r} with precision {config.precision!r}: {error}") from error
    if config.sync_batch_norm and accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        raise ConfigError("sync_batch_norm is true; allowed on CPUs: false, as PyTorch has it for GPUs only")
    return accelerator


@contextmanager
def peers(config: RunConfig, processes: int) -> Iterator[None]:
    """Let the error of one of so many processes that has lost another say how to continue."""
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise
        raise PeerError(
            f"{config.name}: another process of the run has ended, or has not answered for {config.peer_timeout:g} "
            f"seconds (peer_timeout) ({str(error).strip()[:120]}); {FINISHED}: "
            "continue with --resume"
        ) from error
