"""The commit and the machine, for the rows of results."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["commit", "environment"]


def commit() -> str:
    """The short hash of the commit, with "-dirty" if files other than results were changed since; empty without git or
    a checkout.
    """
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)benchmarks/results")
    return head + "-dirty" * bool(changed)


def _git(*command: str) -> str:
    """What git prints, of the checkout of this file."""
    git = shutil.which("git")
    if git is None:
        return ""
    whole = [git, "-C", str(Path(__file__).parent), *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False).stdout.strip()


def environment(device: str) -> dict[str, str]:
    """GPU or CPU, versions, commit and date. PyTorch is imported only for a GPU."""
    card, cuda = _card() if device == "cuda" else (f"CPU ({_processor()})", "")
    return {
        "device": card,
        "torch": _version("torch"),
        "cuda": cuda,
        "triton": _version("triton"),
        "numpy": _version("numpy"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _card() -> tuple[str, str]:
    import torch

    return torch.cuda.get_device_name(), torch.version.cuda or ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # Linux only
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
