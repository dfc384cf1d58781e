"""The process of one part: python -m benchmarks.gpu.child MODULE --out DIR --device DEVICE --until SECONDS ..."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.gpu.context import Context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    if given.device == "cuda":
        import torch  # which takes seconds

        if not torch.cuda.is_available():
            raise SystemExit("PyTorch finds no GPU: --device cpu --tiny tries everything without one")
    context = Context(given.out, given.device, given.tiny, given.until, given.images)
    importlib.import_module(given.module).main(context)


if __name__ == "__main__":
    main()
