"""The most memory that a training run has held at a time."""

import ctypes
import gc
import re
from pathlib import Path

import torch

__all__ = ["PeakMemory"]

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Bytes allocated at most since construction: of the GPU by PyTorch, else of main memory by the process.

    On a CPU it is the growth of the process's resident memory, so that libraries loaded before do not count; what an
    earlier run of the process left unused is given back first. Known on Linux only; elsewhere `peak` gives None.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif CLEAR.exists():
            gc.collect()
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
            if trim is not None:
                trim(0)
            CLEAR.write_text("5")  # resets the high-water mark, proc(5)
            self.start = _kilobytes("VmRSS")

    def peak(self) -> int | None:
        """Bytes, or None where it is not known."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return 1024 * max(_kilobytes("VmHWM") - self.start, 0) if CLEAR.exists() else None


def _kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} has no field {field}")
    return int(found[1])
