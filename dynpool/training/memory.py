"""Peak memory of a training run."""

import ctypes
import gc
import re
from pathlib import Path

import torch

__all__ = ["PeakMemory"]

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Peak memory in bytes since construction: allocated by PyTorch on a GPU, else by the process in main memory.

    On a CPU it is the growth of the process's resident memory without pages of files, so that code which the first run
    of a process loads does not count; memory that an earlier run left unused is released first. Available on Linux
    only; elsewhere `peak` returns None.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = self.files = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif CLEAR.exists():
            gc.collect()
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
            if trim is not None:
                trim(0)
            CLEAR.write_text("5")  # resets the high-water mark, proc(5)
            self.start, self.files = _kilobytes("VmRSS"), _kilobytes("RssFile")

    def peak(self) -> int | None:
        """The peak in bytes, or None if it is unknown."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if not CLEAR.exists():
            return None
        loaded = max(_kilobytes("RssFile") - self.files, 0)
        return 1024 * max(_kilobytes("VmHWM") - self.start - loaded, 0)


def _kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} has no field {field}")
    return int(found[1])
