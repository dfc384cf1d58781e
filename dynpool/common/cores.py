"""The CPU cores that this process may use."""

import os

__all__ = ["usable_cores"]


def usable_cores() -> int:
    """The number of CPU cores that this process may run on; where the system does not say, of all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
