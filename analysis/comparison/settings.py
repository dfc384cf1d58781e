"""How a comparison is to be judged: the pairs to test and the margin of equivalence, from its comparison.yaml."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..common.checksums import text_is_intact

__all__ = ["Settings", "find_settings"]


@dataclass(frozen=True)
class Settings:
    """The pairs (group, baseline) to test, None for the usual ones, the margin as a fraction, and what to note."""

    pairs: tuple[tuple[str, str], ...] | None = None
    margin: float = 0.01
    notes: tuple[str, ...] = ()


def find_settings(folders: Sequence[Path]) -> Settings:
    """The settings of the comparison that all run folders lie in; the defaults if they do not lie in one.

    Raises:
        ValueError: if its comparison.yaml has pairs or a margin that are not allowed; the message names it.
    """
    parents = {folder.resolve().parent for folder in folders}
    path = folders[0].parent / "comparison.yaml"
    if len(parents) != 1 or not path.is_file():
        return Settings()
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        return Settings(notes=("comparison.yaml is damaged: the usual pairs are tested, with a margin of 1 point",))
    notes = ("comparison.yaml is damaged or was edited",) if text_is_intact(text) is False else ()
    points = content.get("equivalence_margin", 1.0)
    if not isinstance(points, (int, float)) or isinstance(points, bool) or not 0 < points < math.inf:
        raise ValueError(f"{path}: equivalence_margin is {points!r}, must be a number of points above 0")
    return Settings(_pairs(path, content.get("pairs")), points / 100, notes)


def _pairs(path: Path, value: object) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return tuple((str(group), str(baseline)) for group, baseline in value)
    raise ValueError(f"{path}: pairs is {value!r}, must be null or a list of pairs of methods")
