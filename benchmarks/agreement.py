"""Checks that live, frozen and exported models agree, and `GMACsLoss` with `count_macs`, on timm and torchvision.

    python -m benchmarks.agreement [--out benchmarks/results/agreement.csv] [NAME ...]

Each model is converted at three input sizes: about half its own, an odd one near it, and one at which its last maps
have one or two pixels; the order and `preserve` alternate. A row is one conversion; the rows of a model are written
together, and a restarted sweep continues where the file ends. Models have up to 700 million parameters. The columns
hold the number of comparisons and, after a colon, the differences:

- start: the maps that every module returns, against the original's ("floor": a map of one pixel has become two);
- macs: `GMACsLoss` against `count_macs` at random reachable sizes, and at the smallest;
- forms: outputs of the live, the frozen and the exported model, at that input and (not exported) at neighbouring sizes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import dynpool
from benchmarks.families import sweep
from dynpool.graph import RETURNS, trace_shapes

COLUMNS = ["model", "size", "order", "preserve", "status", "start", "macs", "forms", "seconds"]
RESULTS = Path(__file__).parent / "results" / "agreement.csv"
LIMIT = 1e-4  # largest difference of the outputs, relative to the largest output
Pixels = tuple[int, int]


def sizes_of(model: nn.Module, size: tuple[int, ...], chance: random.Random) -> list[Pixels]:
    """Up to three input sizes at which the model runs; only its own if it requires that."""
    height, width = size[1:]
    wanted = [
        (height // 2, width // 2),
        (height // 2 + 2 * chance.randint(-4, 4) + 1, width // 2 + chance.randint(-9, 9)),
        (chance.randint(33, 48), chance.randint(33, 48)),
    ]
    found = [hw for hw in wanted if runs(model, (size[0], *hw))]
    return found or [hw for hw in [(height, width)] if runs(model, size)]


def runs(model: nn.Module, size: tuple[int, ...]) -> bool:
    try:
        trace_shapes(model, size)
    except ValueError:
        return False
    return True


def start(model: nn.Module, learned: nn.Module, size: tuple[int, ...]) -> str:
    before, after = trace_shapes(model, size), trace_shapes(learned, size)
    both = [at for at in before if at[2] == RETURNS and at in after]
    moved = [at for at in both if before[at][1] != after[at][1]]
    if not moved:
        return str(len(both))
    floor = all(1 in shape[2:] for shape in before[moved[0]][1])  # the rest follows from the first
    return f"{len(both)}, floor" if floor else f"{len(both)}: {moved[0][0] or 'the model'} and {len(moved) - 1} more"


def macs(learned: nn.Module, size: tuple[int, ...], chance: random.Random) -> str:
    """The comparison of `GMACsLoss` with `count_macs`. Leaves the model at its smallest sizes."""
    loss, at_start, wrong = dynpool.GMACsLoss(learned, size), dynpool.sizes(learned, size), []
    tree = loss.cost.tree
    rules = {} if tree is None else {tree.nodes[i].name: rule for i, rule, _ in tree.learned}
    for k in range(5):
        wanted = {}
        for name, rule in rules.items():
            h, w = (0.0, 0.0) if k == 4 else (chance.uniform(0.4, 1.9), chance.uniform(0.4, 1.9))
            height, width = at_start[name]
            wanted[name] = rule.admit((max(2, round(height * h)), max(2, round(width * w))))
        try:
            dynpool.set_sizes(learned, wanted)
            counted, closed = dynpool.count_macs(learned, size).total, loss.cost.macs()
        except ValueError as error:
            wrong.append(str(error).splitlines()[0][:120])
            continue
        if counted != closed:
            wrong.append(f"{closed} instead of {counted}")
    return f"5: {'; '.join(wrong)}" if wrong else "5"


def outputs(model: Any, x: Tensor) -> list[Tensor] | str:
    """The tensors that a model returns, or the error that it raises."""
    try:
        with torch.no_grad():
            return [t for t in pytree.tree_leaves(model(x)) if isinstance(t, Tensor)]
    except (RuntimeError, ValueError, AssertionError) as error:
        return f"{type(error).__name__} {error}".splitlines()[0][:80]


def difference(ours: list[Tensor] | str, theirs: list[Tensor] | str) -> str:
    """The difference of two results as text; empty if they agree."""
    if isinstance(ours, str) or isinstance(theirs, str):
        return (
            ""
            if isinstance(ours, str) and isinstance(theirs, str)
            else f"only one runs: {ours if isinstance(ours, str) else theirs}"
        )
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return "shapes"
    far = [
        float((a - b).abs().max() / a.abs().max().clamp(min=1e-3))
        for a, b in zip(ours, theirs, strict=True)
        if a.numel()
    ]
    return f"{max(far):.1e}" if far and not max(far) < LIMIT else ""


def forms(learned: nn.Module, size: tuple[int, ...]) -> str:
    """The comparison of the live model with the frozen one at five sizes and with the exported one at one."""
    learned.eval()
    frozen, (channels, height, width) = dynpool.freeze(learned), size
    torch.manual_seed(0)
    compared, wrong = 0, []
    for hw in ((height, width), (height - 1, width), (height, width + 1), (height + 1, width - 1), (34, 33)):
        x = torch.randn(1, channels, *hw)
        live = outputs(learned, x)
        compared += not isinstance(live, str)
        if found := difference(live, outputs(frozen, x)):
            wrong.append(f"frozen at {hw}: {found}")
    x = torch.randn(1, *size)
    try:
        exported = torch.export.export(frozen, (x,)).module()
    except Exception as error:  # noqa: BLE001 - any error is a result, reported in the row
        wrong.append(f"export: {type(error).__name__} {str(error).splitlines()[0][:80]}")
    else:
        if found := difference(outputs(learned, x), outputs(exported, x)):
            wrong.append(f"exported: {found}")
    return f"{compared}: {'; '.join(wrong)}" if wrong else str(compared)


def measure(
    model: nn.Module, size: tuple[int, ...], order: Any, preserve: bool, chance: random.Random
) -> dict[str, Any]:
    try:
        learned = dynpool.convert(model, size, order=order, preserve=preserve)
    except ValueError as error:
        return {"status": f"refused: {str(error).splitlines()[0][:100]}"}
    found = {"start": start(model, learned, size), "forms": forms(learned, size), "macs": macs(learned, size, chance)}
    return {"status": "differs" if any(":" in said for said in found.values()) else "same", **found}


def rows(name: str, model: nn.Module, own: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    model.eval()
    chance = random.Random(name)
    found = sizes_of(model, own, chance)
    for k, hw in enumerate(found):
        began, size = time.process_time(), (own[0], *hw)
        how: dict[str, Any] = {"order": ("after", "before")[k % 2], "preserve": k < 2}
        row = measure(model, size, chance=chance, **how)
        yield {"size": size, **how, **row, "seconds": round(time.process_time() - began, 1)}
    if not found:
        yield {"size": own, "status": "does not run"}


if __name__ == "__main__":
    sweep(__doc__, COLUMNS, RESULTS, rows)
