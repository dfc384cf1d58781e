"""Part "headline": the operator's speed beside the memory's limit and beside what it replaces.

Maps beyond the cache first, in the order of what matters; then small maps, what is compiled or slow, and the forward
pass alone. Every map is verified before it is timed. A row for each way to resize a map; the operator's own row has the
fraction of the copy bandwidth as its target, the others' how many times as fast the operator is to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

import torch

from benchmarks.dynopool2d import ALPHAS, LAYOUTS, Case, measure, verify
from benchmarks.dynopool2d_results import BOTH, COPY, EAGER, GRID, OURS, POOL, Row
from benchmarks.gpu.context import Context
from benchmarks.gpu.maps import Map
from benchmarks.gpu.rows import FAILED, MEASURED, MISSED, PASSED, SKIPPED, Rows, State, path_of

__all__ = ["COLUMNS", "COMPILED", "TARGETS", "Group", "groups", "main", "maps"]

COMPILED = f"{EAGER}, compiled"
COPY_TARGET = 0.8  # of the bandwidth of a copy
TARGETS = {EAGER: 4.0, COMPILED: 1.5, GRID: 10.0, POOL: 1.0}  # times as fast, both passes, maps beyond the cache
MAPS = ((112, 64), (56, 256), (28, 512), (7, 1024))  # pixels, channels
FULL = 2**26  # elements: in bfloat16 more than twice the L2 cache of an H200
SMALL = 8  # samples
USUAL = (OURS, EAGER, POOL)
COLUMNS = ("way", *(field.name for field in fields(Row) if field.name != "what"), "small", "ours", "times_ours")


@dataclass(frozen=True)
class Group:
    """One map, the ways to resize it that take turns, and how often."""

    case: Case
    small: bool
    ways: tuple[str, ...] = USUAL
    compiled: tuple[str, ...] = ()
    rounds: int = 20
    least: int = 10


def groups(tiny: bool) -> Iterator[Group]:
    """What is measured, in this order."""
    if tiny:
        case = Case(2, 16, 8, 2.0, torch.float32, torch.channels_last, True)
        yield Group(case, False, rounds=2)
        yield Group(replace(case, alpha=1.7, layout=torch.contiguous_format), False, (OURS, EAGER, GRID), rounds=2)
        yield Group(replace(case, backward=False), True, rounds=2)
        yield Group(case, False, (OURS,), (EAGER,), rounds=2)
        return
    large = [
        Case(FULL // (channels * pixels**2), channels, pixels, alpha, dtype, layout, True)
        for dtype in (torch.bfloat16, torch.float32)
        for alpha in ALPHAS
        for layout in LAYOUTS
        for pixels, channels in MAPS
    ]
    half = len(large) // 2
    yield from (Group(case, False) for case in large[:half])
    some = [case for case in large[:half] if case.channels == 256 and case.alpha in (2.0, 1.7)]
    yield from (Group(case, False, (OURS, GRID), rounds=3, least=3) for case in some)
    yield from (Group(case, False, (OURS,), (EAGER,)) for case in some)
    yield from (Group(case, False) for case in large[half:])
    yield from (Group(replace(case, n=SMALL), True) for case in large[:half])
    yield from (Group(replace(case, backward=False), False) for case in large)


def maps(tiny: bool) -> Iterator[Map]:
    """The same for the compiler."""
    for group in groups(tiny):
        case = group.case
        strides = "channels_last" if case.layout == torch.channels_last else "contiguous"
        shape = (case.n, case.channels, case.pixels, case.pixels)
        yield Map(shape, case.size, case.dtype, strides, uses=("both",) if case.backward else ("both", "forward"))


def main(context: Context) -> None:
    """Measure group by group while there is time."""
    todo = list(groups(context.tiny))
    verified: dict[Case, str] = {}
    with Rows(path_of(context.out, "headline"), COLUMNS, context.device) as rows:
        for done, group in enumerate(todo):
            if context.left() < 0:
                rows.add(f"{len(todo) - done} of {len(todo)} groups of maps", SKIPPED, note="no time was left for them")
                return
            case = replace(group.case, backward=True)
            if case not in verified:
                verified[case] = _wrong(case, context.device)
                if verified[case]:
                    rows.add(f"{OURS}: {case}", FAILED, note=verified[case], way=OURS, ours=True, small=group.small)
            if not verified[case]:
                _measure(group, context.device, rows)


def _wrong(case: Case, device: str) -> str:
    try:
        verify(case, device)
    except (SystemExit, RuntimeError) as refused:  # the latter by CUDA or by a compiler
        return str(refused)
    return ""


def _measure(group: Group, device: str, rows: Rows) -> None:
    found = measure(group.case, device, group.rounds, group.ways, group.compiled, group.least)
    own = next(row for row in found if row.what == OURS)
    pool = next((row for row in found if row.what == POOL), None)
    for row in found:
        faster = row.p50 / own.p50
        state, reached = _judged(row, faster, group.small)
        if row is own and pool is not None and state == PASSED and own.p50 > pool.p50:
            state, reached = MISSED, pool.p50 / own.p50
        rows.add(
            _text(row), state, reached, way=row.what, small=group.small, ours=row is own, times_ours=faster,
            **{name: value for name, value in asdict(row).items() if name != "what"},
        )  # fmt: skip


def _judged(row: Row, faster: float, small: bool) -> tuple[State, float | None]:
    """Whether a row's target is reached, and how much of it."""
    if small or row.what == COPY:
        return MEASURED, None
    if row.what == OURS:
        reached = row.fraction_of_copy / COPY_TARGET
    elif row.what == POOL or (row.what in TARGETS and row.passes == BOTH):
        reached = faster / TARGETS[row.what]
    else:
        return MEASURED, None
    return PASSED if reached >= 1 else MISSED, reached


def _text(row: Row) -> str:
    size = f"{row.n}x{row.channels}x{row.height} -> {row.out_height}"
    share = f"{row.p50:.0f} us, {row.fraction_of_copy:.0%} of copy"
    return f"{row.what}: {size}, alpha {row.alpha:g}, {row.dtype}, {row.layout}, {row.passes}: {share}"
