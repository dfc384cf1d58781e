"""Checks that analysing a model does not change a bit of it, on a model of each timm family and all of torchvision.

    python -m benchmarks.untouched [--out benchmarks/results/untouched.csv] [NAME ...]

One row per model of up to 700 million parameters; a restarted sweep continues where the file ends. Weights are random;
nothing is downloaded.
"""

from __future__ import annotations

import functools
import random
import tempfile
import time
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import dynpool
from benchmarks.families import sweep
from dynpool.analysis import IMinTracker, receptive_field

__all__ = ["picture", "process"]

COLUMNS = ["model", "count_macs", "receptive_field", "convert", "GMACsLoss", "IMinTracker", "seconds"]
RESULTS = Path(__file__).parent / "results" / "untouched.csv"


def picture(thing: Any, known: dict[int, Any] | None = None) -> Any:
    """The contents of an object including identities, as a value that can be compared; independent of the library."""
    known = {} if known is None else known
    if isinstance(thing, (type(None), bool, int, float, str, bytes, type, torch.dtype, torch.device)):
        return thing
    if id(thing) in known:
        return ("again", id(thing))
    known[id(thing)] = thing
    inside = functools.partial(picture, known=known)
    if isinstance(thing, Tensor):
        bits = "meta" if thing.is_meta else thing.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        grad = thing.grad if thing.is_leaf else None
        return (id(thing), thing.shape, thing.dtype, thing.device, thing.requires_grad, hash(bits), inside(grad))
    if isinstance(thing, np.ndarray):
        return (id(thing), thing.tobytes())
    if isinstance(thing, torch.Generator):
        return thing.get_state().tolist()
    if isinstance(thing, random.Random):
        return thing.getstate()
    if isinstance(thing, dict):
        return (id(thing), [(inside(k), inside(v)) for k, v in thing.items()])
    if isinstance(thing, tuple):  # immutable: only its contents count
        return [inside(v) for v in thing]
    if isinstance(thing, (list, deque)):
        return (id(thing), [inside(v) for v in thing])
    if isinstance(thing, (set, frozenset)):
        return (id(thing), sorted(map(id, thing)))
    if isinstance(thing, types.FunctionType):
        return (id(thing), [inside(c.cell_contents) for c in thing.__closure__ or ()], inside(vars(thing)))
    if isinstance(thing, types.MethodType):
        return inside(thing.__self__)
    return (id(thing), inside(getattr(thing, "__dict__", None)))


def process() -> Any:
    """The random states and modes of the process."""
    modes = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    _, keys, *position = np.random.get_state(legacy=True)
    numbers = (np.asarray(keys).tobytes(), position)
    return random.getstate(), numbers, torch.get_rng_state().tolist(), (*modes, torch.is_autocast_enabled("cpu"))


def look(model: nn.Module, size: tuple[int, ...]) -> dict[str, str]:
    """For each function, "same" or "CHANGED", with the error if it raises one."""
    found = looked(
        model,
        {
            "count_macs": lambda: dynpool.count_macs(model, size),
            "receptive_field": lambda: receptive_field(model, size),
            "convert": lambda: dynpool.convert(model, size),
        },
    )
    if found["convert"] not in ("same", "CHANGED"):
        return {**found, "GMACsLoss": "", "IMinTracker": ""}
    learned = dynpool.convert(model, size)
    with tempfile.TemporaryDirectory() as folder:
        return found | looked(
            learned,
            {
                "GMACsLoss": lambda: dynpool.GMACsLoss(learned, size)(),
                "IMinTracker": lambda: IMinTracker(learned, size, Path(folder) / "i_min.jsonl").log(0),
            },
        )


def looked(model: nn.Module, looks: Mapping[str, Callable[[], Any]]) -> dict[str, str]:
    """For each call, whether the model and the process are the same as before it."""
    before, outside, found = picture(model), process(), {}
    for name, call in looks.items():
        try:
            call()
            raised = ""
        except ValueError as error:
            raised = f", {str(error).splitlines()[0][:80]}"
        same = picture(model) == before and process() == outside
        found[name] = ("same" if same else "CHANGED") + raised
    return found


def rows(name: str, model: nn.Module, size: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    start = time.process_time()
    found = look(model.train(), size)
    yield {**found, "seconds": round(time.process_time() - start, 1)}


if __name__ == "__main__":
    sweep(__doc__, COLUMNS, RESULTS, rows)
