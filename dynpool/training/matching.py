"""Runs of a comparison that have the cost of another: which one each waits for, and its budget once that has ended."""

import dataclasses
import heapq
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from dynpool.common.names import nearest

from .config import DESIGNED_COST, RunConfig
from .config_file import read_yaml
from .errors import ConfigError, TrainingError
from .grid_point import GridPoint
from .run_folder import RunFolder

__all__ = ["Queue", "matched_groups", "with_budget"]

log = logging.getLogger(__name__)

Entry = tuple[RunConfig, GridPoint]


def matched_groups(entries: Sequence[Entry]) -> dict[str, str]:
    """{group of runs: group whose cost they match}, from the runs of one seed of a comparison.

    Raises:
        ConfigError: if a method without a choice of cost is to match another, or the method to match is not in the
            comparison, has several grid points, is the method itself, or waits for it in turn.
    """
    methods = {point.group: run.method for run, point in entries}
    found = {point.group: _the_match(run, point, methods) for run, point in entries if run.match is not None}
    for group in found:
        chain = [group]
        while (after := found.get(chain[-1])) is not None and after not in chain:
            chain.append(after)
        if after == group:
            circle = ", which matches ".join([*chain, group])
            raise ConfigError(f"gmacs_budget: {circle}, so none of them can run first", "gmacs_budget")
    return found


def _the_match(run: RunConfig, point: GridPoint, methods: Mapping[str, str]) -> str:
    """The group that a run is to match, of those in {group: method}."""
    where = f"gmacs_budget of {point.group}"
    if point.method in DESIGNED_COST:
        raise ConfigError(
            f"{where} is {run.gmacs_budget!r}; allowed: null, or a number, which is ignored: its cost follows from the "
            "design; scaled and resized are the design at another cost",
            "gmacs_budget",
        )
    if run.gmacs_budget != {"match": run.match}:
        raise ConfigError(f"{where} is {run.gmacs_budget!r}; allowed: {{match: METHOD}}", "gmacs_budget")
    if str(run.match) in methods:
        return str(run.match)
    several = [group for group, method in methods.items() if method == run.match]
    if several:
        raise ConfigError(
            f"{where}: {run.match!r} has several grid points; allowed: {', '.join(map(repr, several))}", "gmacs_budget"
        )
    raise ConfigError(
        f"{where} matches {run.match!r}, which is not in the comparison{nearest(str(run.match), methods)}",
        "gmacs_budget",
    )


class Queue:
    """The runs of a comparison that have not been started, of which some wait until another has ended.

    Runs for which others wait come first, so that workers are not idle at the end.

    Args:
        entries: all runs, with their grid points.

    Raises:
        ConfigError: as `matched_groups`.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        seed = entries[0][0].seed
        groups = matched_groups([(run, point) for run, point in entries if run.seed == seed])
        by_group = {(point.group, run.seed): run for run, point in entries}
        self._matched = {
            run.name: by_group[match, run.seed]
            for run, point in entries
            if (match := groups.get(point.group)) is not None
        }
        awaited = {run.name for run in self._matched.values()}
        ordered = sorted(entries, key=lambda entry: entry[0].name not in awaited)
        self._ready: list[tuple[int, Entry]] = []  # a heap, by the place in the order
        self._blocked: dict[str, list[tuple[int, Entry]]] = {}  # by the name of the run that they wait for
        for place, entry in enumerate(ordered):
            matched = self._matched.get(entry[0].name)
            there = self._ready if matched is None else self._blocked.setdefault(matched.name, [])
            there.append((place, entry))

    def __bool__(self) -> bool:
        return bool(self._ready or self._blocked)

    @property
    def runs(self) -> list[RunConfig]:
        """The runs that have not been started, in the order in which they are to be."""
        places = [*self._ready, *(place for blocked in self._blocked.values() for place in blocked)]
        return [run for _, (run, _) in sorted(places, key=lambda place: place[0])]

    def take(self) -> tuple[Entry, RunConfig | None] | None:
        """The next run, and the run whose cost it matches; None if all that are left wait for runs in progress."""
        if not self._ready:
            return None
        _, entry = heapq.heappop(self._ready)
        return entry, self._matched.get(entry[0].name)

    def ended(self, name: str) -> None:
        """Note that a run has ended, so that those which match it can start."""
        for place in self._blocked.pop(name, []):
            heapq.heappush(self._ready, place)

    def failed(self, name: str) -> dict[str, str]:
        """Remove the runs that wait for a failed one, directly or not: {name: reason}."""
        lost: dict[str, str] = {}
        for _, (run, _) in self._blocked.pop(name, []):
            lost[run.name] = f"not trained, as it was to match the cost of {name}"
            lost |= self.failed(run.name)
        return lost


def with_budget(run: RunConfig, matched: RunConfig | None, *, resume: bool) -> RunConfig:
    """The run with the cost of the finished run that it matches as its budget.

    A run that is resumed keeps the budget that it was started with; a warning says so if the other run has meanwhile
    another cost.

    Raises:
        TrainingError: if the matched run's figures are missing.
    """
    if matched is None:
        return run
    done = RunFolder(matched.folder).finished()
    if done is None or "gmacs" not in done:
        raise TrainingError(f"{matched.folder} has no results of a finished run, so its cost cannot be matched")
    cost = float(done["gmacs"])
    kept = _kept_budget(run) if resume else None
    if kept is not None and kept != cost:
        log.warning(
            "%s: its budget of %.6g GMACs is what %s cost when it was started; that run now costs %.6g GMACs",
            run.name, kept, matched.name, cost,
        )  # fmt: skip
    return dataclasses.replace(run, gmacs_budget={"match": str(run.match), "gmacs": cost if kept is None else kept})


def _kept_budget(run: RunConfig) -> float | None:
    """The number in the file of a run that was started to match the same method; None if it was not."""
    folder = RunFolder(run.folder)
    if not folder.checkpoints():
        return None
    try:
        saved = read_yaml(folder.config)
    except ConfigError:
        return None  # damaged: the run reports it
    given: Any = saved.get("gmacs_budget") if isinstance(saved, Mapping) else None
    if not isinstance(given, Mapping) or given.get("match") != run.match:
        return None
    return float(given["gmacs"]) if isinstance(given.get("gmacs"), (int, float)) else None
