"""Equality of two configurations, and conversion of a configuration to plain containers."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .config import RunConfig

__all__ = ["changed_keys", "fingerprint", "flatten", "to_dict"]

# Keys that may differ when a run is continued, as they do not affect what is computed.
MOVABLE_KEYS = frozenset(
    {
        "name",
        "grid_point",
        "out",
        "device",
        "save_steps",
        "compile",
        "track",
        "checkpoint_every",
        "sensitivity_every",
        "data.root",
        "data.download",
        "data.cache",
        "data.workers",
        "threads",
        "shard",
        "peer_timeout",
        "latency.measure",
        "input_size",
    }
)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain dicts and lists, ready for YAML and JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences between two configurations that affect results, as 'key: old -> new' (see `MOVABLE_KEYS`).

    A key that an earlier version did not have counts as its default. `epochs` may grow if the learning rate does not
    depend on it (`scheduler: constant`).
    """
    usual = flatten(to_dict(RunConfig()))
    before, after = usual | flatten(old), usual | flatten(new)
    constant = before.get("scheduler") == after.get("scheduler") == "constant"
    changed = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key), after.get(key)
        if a == b or key in MOVABLE_KEYS or (key == "epochs" and constant and (b or 0) > (a or 0)):
            continue
        changed.append(f"{key}: {a!r} -> {b!r}")
    return changed


def fingerprint(config: Mapping[str, Any]) -> str:
    """SHA-256 of all keys that affect results: equal fingerprints give equal results on the same machine."""
    kept = {k: v for k, v in flatten(config).items() if k not in MOVABLE_KEYS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level, joined by dots: {"data": {"root": 1}} as {"data.root": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and prefix + key != "model.options":
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
