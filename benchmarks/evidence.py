"""The runs behind docs/evidence.md: kept as rows, and compared again from them.

    python -m benchmarks.evidence add runs/cifar10-narrow   # rows of the finished runs of a comparison
    python -m benchmarks.evidence page                      # tables and pictures of docs/evidence.md

`add` writes benchmarks/results/evidence_NAME.csv, NAME being that of the comparison's folder: a row per run and epoch.
Rows of the same runs are replaced, others stay, so that a comparison can be trained in parts and on several machines.
From these rows the runs' folders are restored (without weights) and compared as `dynpool report` does, with the pairs
of configs/NAME.yaml. Of several comparisons by one configuration, each is named after it: digits-controls-stretch.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks import hypotheses
from benchmarks.digits import MACHINE
from dynpool.analysis import Comparison, compare_runs
from dynpool.analysis.comparison.pairs import HEADS
from dynpool.analysis.comparison.plots import to_png
from dynpool.analysis.comparison.read_runs import find_runs, read_run
from dynpool.training import ComparisonConfig, load_config

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "evidence.md"
RUN = ("method", "grid_point", "seed", "epochs", "input_size", "gmacs_budget", "data")  # keys of config.yaml
EPOCH = (
    "epoch", "train_loss", "test_accuracy", "gmacs", "i_min_h", "i_min_w", "unproductive", "behind_global", "sizes",
    "kernels", "kernel_maps", "seconds",
)  # fmt: skip
COLUMNS = ("run", *RUN, *EPOCH, *MACHINE)
OF_DATA = ("name", "variant", "resolution", "validation", "train_images")

Row = dict[str, str]


def path_of(name: str) -> Path:
    return RESULTS / f"evidence_{name}.csv"


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows_of(folder: Path) -> Iterator[Row]:
    """The rows of a run folder, one per epoch."""
    run = read_run(folder)
    config = dict(run.config)
    data = config["data"]
    config["data"] = {key: data[key] for key in OF_DATA if key in data} if isinstance(data, dict) else {}
    sessions = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["sessions"]
    machine = {key: str(sessions[-1][key]) for key in MACHINE}
    fixed = {"run": folder.name} | {key: _cell(config.get(key)) for key in RUN} | machine
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield fixed | {key: _short(key, row.get(key, "")) for key in EPOCH}


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(key: str, cell: str) -> str:
    """Losses and seconds to six digits; what figures are computed from is kept as it is."""
    return f"{float(cell):.6g}" if key in ("train_loss", "seconds") and cell else cell


def add(folder: Path, name: str) -> tuple[int, list[str]]:
    """Add the finished runs of a comparison; gives their number and the names of those that are not finished."""
    runs = find_runs([folder])
    unfinished = [run.name for run in runs if not read_run(run).finished]
    new = [row for run in runs if run.name not in unfinished for row in rows_of(run)]
    replaced = {row["run"] for row in new}
    kept = [row for row in read(path_of(name)) if row["run"] not in replaced]
    rows = sorted(kept + new, key=lambda row: (row["method"], row["grid_point"], int(row["seed"]), int(row["epoch"])))
    with path_of(name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(replaced), unfinished


def restore(rows: list[Row], pairs: Mapping[str, Any], folder: Path) -> None:
    """Write run folders with the given rows, and the pairs of their comparison, as far as reports need them."""
    (folder / "comparison.yaml").write_text(yaml.safe_dump(dict(pairs)), encoding="utf-8")
    for run in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == run]
        config = {key: _value(key, mine[0][key]) for key in RUN}
        (folder / run).mkdir()
        (folder / run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        with (folder / run / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, EPOCH, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(mine)


def _value(key: str, cell: str) -> Any:
    return cell if key in ("method", "grid_point") else json.loads(cell)


def comparison(name: str) -> Comparison:
    """The comparison of the committed rows, with the pairs of its configuration."""
    config, _ = load_config(ComparisonConfig, _config_of(name))
    pairs = None if config.tested_pairs is None else [list(pair) for pair in config.tested_pairs]
    judged = {"pairs": pairs, "equivalence_margin": config.equivalence_margin}
    with tempfile.TemporaryDirectory() as folder:
        restore(read(path_of(name)), judged, Path(folder))
        return compare_runs([folder])


def _config_of(name: str) -> Path:
    """The configuration of a comparison: that of its name, or of the name without its last word."""
    path = ROOT / "configs" / f"{name}.yaml"
    return path if path.exists() else path.with_name(f"{name.rpartition('-')[0]}.yaml")


# ---------------------------------------------------------------------------------------------------------- the page


def methods_table(name: str) -> str:
    """One line per group: accuracy, cost, receptive field, mean sizes."""
    found = comparison(name)
    lines = ["| method | seeds | accuracy % | MMACs | I_min | sizes |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for row in found.methods:
        sizes = "-"
        if row.sizes is not None:
            sizes = ", ".join(f"{h:.3g}x{w:.3g}" for name, (h, w) in row.sizes.items() if name != "input")
        accuracy = f"{100 * row.accuracy.mean:.1f}" if row.accuracy.std is None else row.accuracy.show(1, 100)
        mmacs = f"{1e3 * row.gmacs.mean:.2f}" + ("" if row.gmacs.std is None else f" ± {1e3 * row.gmacs.std:.2f}")
        field = row.starred(" x ".join(f"{value.mean:.0f}" for value in row.i_min)).replace("*", "\\*")
        lines.append(f"| {row.group} | {len(row.seeds)} | {accuracy} | {mmacs} | {field} | {sizes} |")
    return "\n".join(lines)


def pairs_table(name: str) -> str:
    """The tested pairs."""
    rows = [pair.cells() for pair in comparison(name).pairs]
    lines = [HEADS, ("---", *["---:"] * (len(HEADS) - 2), "---"), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def variants(name: str) -> dict[str, Comparison]:
    """The comparisons of a configuration for each variant of its images."""
    paths = sorted(RESULTS.glob(f"evidence_{name}-*.csv"))
    return {
        path.stem.removeprefix(f"evidence_{name}-"): comparison(path.stem.removeprefix("evidence_")) for path in paths
    }


def tested() -> dict[str, Comparison]:
    """The comparisons that test hypotheses, as far as there are rows."""
    return {name: comparison(name) for name in hypotheses.IMAGES if path_of(name).exists()}


TABLES = {
    "methods": methods_table,
    "pairs": pairs_table,
    "shapes": lambda name: hypotheses.shapes_table(variants(name)),
    "answers": lambda _: hypotheses.answers_table(tested()),
    "missed": lambda _: hypotheses.missed_table(tested()),
}


def filled(page: str) -> str:
    """The page with its tables made anew: what stands between `<!-- TABLE NAME -->` and `<!-- end -->`.

    Raises:
        ValueError: if a mark names an unknown table or a comparison without rows.
    """

    def made(match: re.Match[str]) -> str:
        table, name = match["table"], match["name"]
        if table not in TABLES or not any(RESULTS.glob(f"evidence_{'' if name == 'all' else name}*.csv")):
            raise ValueError(
                f"<!-- {table} {name} -->: expected one of {', '.join(TABLES)}, and rows in benchmarks/results"
            )
        return f"<!-- {table} {name} -->\n{TABLES[table](name)}\n<!-- end -->"

    return re.sub(r"<!-- (?P<table>\w+) (?P<name>[\w-]+) -->.*?<!-- end -->", made, page, flags=re.DOTALL)


def pictures(page: str) -> dict[str, bytes]:
    """The pictures that the page shows, as PNG by file name: evidence-PLOT-NAME.png.

    PLOT is one of the report's; 'answers', with a hypothesis for its name; or 'shapes', with that of the variants.
    """
    draw = {
        "answers": lambda name: hypotheses.answers_plot(tested(), name),
        "shapes": lambda name: hypotheses.shapes_plot(variants(name)),
    }
    found = {}
    for file, plot, name in re.findall(r"\((evidence-([a-z_]+)-([\w-]+)\.png)\)", page):
        found[file] = to_png(draw[plot](name) if plot in draw else comparison(name).plot()[plot], dpi=100)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="keep the rows of a comparison's finished runs")
    adding.add_argument("folder", type=Path)
    adding.add_argument("--name", help="of the configuration; default: the folder's")
    commands.add_parser("page", help="make the tables of docs/evidence.md")
    args = parser.parse_args()
    if args.command == "add":
        name = args.name or args.folder.name
        runs, unfinished = add(args.folder, name)
        left = f"; not finished, and left out: {', '.join(unfinished)}" if unfinished else ""
        print(f"{runs} runs in {path_of(name)}{left}")
    else:
        page = filled(PAGE.read_text(encoding="utf-8"))
        PAGE.write_text(page, encoding="utf-8")
        for file, picture in pictures(page).items():
            (PAGE.parent / file).write_bytes(picture)
        print(PAGE)


if __name__ == "__main__":
    main()
