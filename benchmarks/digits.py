"""All methods on five variants of the digits, and their trade-off between accuracy and GMACs, three seeds each.

    python benchmarks/digits.py [--variants tile large ...] [--runs runs]

Runs `dynpool compare configs/digits-VARIANT.yaml` one after the other, at most ten minutes each on two idle cores.
Finished runs are kept, so an interrupted benchmark continues where it stopped. Then writes
benchmarks/results/digits.csv and docs/digits.md, with a plot of the trade-off, from all variants that have been run.
Seconds and memory are those of the machine it ran on.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dynpool.analysis import Comparison, compare_runs
from dynpool.analysis.comparison.pairs import HEADS
from dynpool.analysis.comparison.plots import to_png
from dynpool.analysis.comparison.rows import footnote

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "digits.csv"
PAGE = ROOT / "docs" / "digits.md"
VARIANTS = {
    "plain": "the 8 x 8 digits, resized to the input size",
    "stretch": "twice as tall, and cropped at a random height",
    "tile": "halved to 4 x 4 pixels and repeated 4 x 4 times: fine detail, no large structure",
    "large": "half the detail at twice the size: many pixels with little information",
    "canvas": "at half the size, at a random position on a black canvas",
    "tradeoff": "the stretched digits once more: the human design at four resolutions, learned sizes at three budgets "
    "of GMACs, 0.0025 among them for all three methods",
}
PICTURE = ROOT / "docs" / "digits-tradeoff.png"
HEAD = """# All methods on the digits

Made by `python benchmarks/digits.py`; every run is a row of `benchmarks/results/digits.csv`. Accuracy is that of the
last epoch on the test set, mean and standard deviation over three seeds; I_min is height x width in pixels. `fixed` is
DynOPool with sizes that are not learned, `random` has random sizes of equal GMACs, `refine` is the static refinement of
the human design. Networks and budgets are small, so these results do not carry over to large ones. Versions of PyTorch
round differently, so single runs can learn different sizes, at times with larger differences than these standard
deviations; the versions are in the CSV.

"""
MACHINE = ("cpu", "cpu_count", "python", "torch", "timm", "dynpool", "started")


def rows(variant: str, comparison: Comparison) -> Iterator[dict[str, str]]:
    """The comparison's CSV rows, with the variant, and of each run its machine and versions."""
    for row in csv.DictReader(io.StringIO(comparison.to_csv())):
        machine = dict.fromkeys(MACHINE, "")
        if row["kind"] == "run":
            (folder,) = (r.folder for r in comparison.rows if Path(r.folder).name == row["folder"])
            last = json.loads((Path(folder) / "environment.json").read_text(encoding="utf-8"))["sessions"][-1]
            machine = {key: str(last[key]) for key in MACHINE}
        yield {"variant": variant, **row, **machine}


def section(variant: str, comparison: Comparison) -> list[str]:
    lines = [f"## digits-{variant}", "", f"{VARIANTS[variant][0].upper()}{VARIANTS[variant][1:]}.", ""]
    lines += ["| method | accuracy % | GMACs | parameters | I_min | unproductive | s/epoch |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for row in comparison.methods:
        cells = (
            row.group,
            row.accuracy.show(1, 100),
            row.gmacs.show(6),
            "-" if row.parameters is None else f"{row.parameters.mean:,.0f}",
            row.starred(" x ".join(value.show() for value in row.i_min)).replace("*", "\\*"),
            "-" if row.unproductive is None else row.starred(row.unproductive.show()).replace("*", "\\*"),
            "-" if row.seconds_per_epoch is None else row.seconds_per_epoch.show(),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if variant == "tradeoff":
        lines += ["", f"![Accuracy against GMACs, the points of a method joined by a line]({PICTURE.name})"]
    note = footnote(comparison.methods).replace("*", "\\*")
    lines += ["", note] if note else []
    pairs = [HEADS, ("---", *["---:"] * (len(HEADS) - 2), "---"), *(pair.cells() for pair in comparison.pairs)]
    lines += ["", comparison.headline, "", *(f"| {' | '.join(cells)} |" for cells in pairs)]
    return [*lines, "", *(f"- {found}" for found in comparison.findings), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where the comparisons are kept")
    args = parser.parse_args()
    for variant in args.variants:
        config, out = ROOT / "configs" / f"digits-{variant}.yaml", args.runs / f"digits-{variant}"
        command = [sys.executable, "-m", "dynpool.cli", "compare", str(config), "--out", str(out), "--resume"]
        subprocess.run(command, cwd=ROOT, check=True)
    done = {v: compare_runs([args.runs / f"digits-{v}"]) for v in VARIANTS if (args.runs / f"digits-{v}").exists()}
    found = [row for variant, comparison in done.items() for row in rows(variant, comparison)]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    if "tradeoff" in done:
        PICTURE.write_bytes(to_png(done["tradeoff"].plot()["accuracy_vs_gmacs"], dpi=100))
    PAGE.write_text(HEAD + "\n".join(line for v, c in done.items() for line in section(v, c)), encoding="utf-8")
    print(f"{len(found)} rows in {RESULTS}, {PAGE}")


if __name__ == "__main__":
    main()
