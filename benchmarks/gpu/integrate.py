"""Part "integrate": whether the operator and a converted network work with what PyTorch has around them.

A row for each check, passed, failed with what went wrong, or skipped with why it cannot be tried here. Those that could
leave the device in a bad state, or that take long, come last.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu import network_checks, operator_checks, training_checks
from benchmarks.gpu.checking import NotHere, Wrong
from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map
from benchmarks.gpu.rows import FAILED, PASSED, SKIPPED, Rows, path_of

__all__ = ["CHECKS", "main", "maps"]

Check = Callable[[Context], str]

CHECKS: tuple[Check, ...] = (
    operator_checks.autograd,
    operator_checks.deterministic,
    operator_checks.alpha_as_a_float,
    operator_checks.alpha_in_bfloat16,
    operator_checks.side_stream,
    operator_checks.second_device,
    network_checks.gradients_of_a_network,
    network_checks.channels_last_network,
    network_checks.autocast_network,
    network_checks.infinite_step,
    training_checks.one_epoch_resumed,
    operator_checks.compiled_operator,
    operator_checks.graph_of_the_operator,
    network_checks.graph_of_a_training_step,
    network_checks.compiled_network,
)


def maps(tiny: bool) -> Iterator[Map]:
    """What the checks pool, for the compiler."""
    yield from operator_checks.maps()
    yield from network_checks.maps(tiny)


def main(context: Context) -> None:
    """Check after check, while there is time; in full float32, so that what differs is not TF32."""
    torch.backends.cudnn.allow_tf32 = False
    with Rows(path_of(context.out, "integrate"), ("seconds",), context.device) as rows:
        for check in CHECKS:
            name = check.__name__.replace("_", " ")
            if context.left() < 0:
                rows.add(name, SKIPPED, note="no time was left for it")
                continue
            print(f"begin {name}", flush=True)
            begin = time.perf_counter()
            try:
                note = check(context)
                if context.device == "cuda":
                    torch.cuda.synchronize()  # what went wrong on the device is this check's
            except NotHere as why:
                rows.add(name, SKIPPED, note=str(why), seconds=time.perf_counter() - begin)
            except ModuleNotFoundError as error:
                rows.add(name, SKIPPED, note=f"{error}: carry its wheel", seconds=time.perf_counter() - begin)
            except Wrong as error:
                rows.add(name, FAILED, note=str(error), seconds=time.perf_counter() - begin)
            except Exception as error:  # noqa: BLE001 - whatever a check raises is its row, and the next one is tried
                traceback.print_exc()
                rows.add(name, FAILED, note=f"{type(error).__name__}: {error}", seconds=time.perf_counter() - begin)
            else:
                rows.add(name, PASSED, 1.0, note, seconds=time.perf_counter() - begin)
