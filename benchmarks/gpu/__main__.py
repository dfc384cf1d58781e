"""Everything that a GPU can say, in one command that needs no one to watch it:

    python -m benchmarks.gpu --out DIR [--minutes 6] [--parts verify headline ...] [--device cuda|cpu] [--tiny]

Each part has a process of its own and a limit; its rows go to DIR/gpu_PART.csv as they are measured, what it prints to
DIR/gpu.log. Last comes a summary of at most 40 lines, printed and in DIR/summary.txt. Exit code 1: something failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.gpu.context import Context
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.runner import run
from benchmarks.gpu.summary import failed, summarise


def main() -> int:
    """Run the parts that are asked for; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the rows and the summary")
    parser.add_argument("--minutes", type=float, default=6.0, help="that all parts together may take")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="default: all but cifar")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a few small maps and networks, as on a CPU")
    parser.add_argument("--images", type=Path, help="for cifar: archive or folder of the images")
    given = parser.parse_args()
    chosen = [part for part in PARTS if (part.name in given.parts if given.parts else part.by_default)]
    until = time.time() + 60 * given.minutes
    images = None if given.images is None else given.images.resolve()
    context = Context(given.out.resolve(), given.device, given.tiny, until, images)
    outcomes, text = [], ""
    for outcome in run(chosen, context):
        outcomes.append(outcome)
        text = summarise(outcomes, context.out)
        (context.out / "summary.txt").write_text(text)  # after every part, should the run itself be ended
    print(text, end="", flush=True)
    return int(failed(outcomes, context.out))


if __name__ == "__main__":
    sys.exit(main())
