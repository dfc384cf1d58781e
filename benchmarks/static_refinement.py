"""Static refinement of many networks: whether I_min < I_res is reached, by which edits, at what cost, and if not why.

    python benchmarks/static_refinement.py [--count 100] [--sizes 32 64 224] [--out FILE]

Networks are convolutional ones of timm, a few of each family. A row is written only if `receptive_field` of the refined
network agrees with the plan; `seconds` is the CPU time of `refine`. Existing rows are not computed again, so an
interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
from pathlib import Path

import timm
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

from benchmarks.appending import append, check_columns
from benchmarks.checkout import commit
from dynpool.analysis import receptive_field
from dynpool.baselines import refine

RESULTS = Path(__file__).parent / "results" / "static_refinement.csv"
FAMILIES = (
    "byobnet convmixer convnext cspnet densenet dla dpn efficientnet fasternet ghostnet hardcorenas hgnet hrnet "
    "inception_next inception_resnet_v2 inception_v3 inception_v4 mambaout mobilenetv3 nasnet nfnet pnasnet rdnet "
    "regnet repghost repvit res2net resnest resnet resnetv2 rexnet selecsls senet sknet starnet tresnet vgg vovnet "
    "xception xception_aligned"
).split()
COLUMNS = (
    "model size reached edits i_min_before_h i_min_before_w i_min_after_h i_min_after_w gmacs_before gmacs_after "
    "seconds what why torch timm commit"
).split()


def networks(count: int) -> list[str]:
    """The names of `count` convolutional networks of timm, in turn from each family, short names first."""
    families = [sorted(timm.list_models(module=module), key=len) for module in FAMILIES]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*families))
    return list(dict.fromkeys(n for n in turns if n is not None))[:count]


def row(name: str, size: int) -> dict[str, object]:
    """The row of one network at one size; `why` has the error if the network cannot run at it."""
    with torch.device("meta"):
        model = timm.create_model(name)
    start = time.process_time()
    try:
        refined, plan = refine(model, (3, size, size))
    except ValueError as error:
        return {"model": name, "size": size, "reached": "cannot run", "why": str(error)}
    seconds = time.process_time() - start
    found = receptive_field(refined, (3, size, size)).i_min
    if found != plan.i_min_after:
        raise RuntimeError(f"{name} at {size}: the plan says I_min {plan.i_min_after}, the refined model has {found}")
    return {
        "model": name,
        "size": size,
        "reached": plan.reached,
        "edits": len(plan.edits),
        "i_min_before_h": plan.i_min_before[0],
        "i_min_before_w": plan.i_min_before[1],
        "i_min_after_h": plan.i_min_after[0],
        "i_min_after_w": plan.i_min_after[1],
        "gmacs_before": f"{plan.gmacs_before:.6g}",
        "gmacs_after": f"{plan.gmacs_after:.6g}",
        "seconds": f"{seconds:.2f}",
        "what": "; ".join(f"{e.what} {e.changes[0].layer}" for e in plan.edits),
        "why": "" if plan.reached else "; ".join(dict.fromkeys([plan.why, *plan.stays.values()])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 224])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = {"torch": torch.__version__, "timm": timm.__version__, "commit": commit()}
    check_columns(options.out, COLUMNS)
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {(r["model"], int(r["size"])) for r in csv.DictReader(file)}
    for name, size in itertools.product(networks(options.count), options.sizes):
        if (name, size) in done:
            continue
        figures = row(name, size)
        append(options.out, COLUMNS, [figures | made])
        print(
            f"{name} {size}: {figures['reached']} {figures.get('seconds', '')} {str(figures.get('why', ''))[:150]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
