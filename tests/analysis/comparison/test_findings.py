"""What a comparison says: who is ahead, whether it may be chance, and what keeps runs from being compared."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from dynpool.analysis.common.checksums import CHECKSUM
from dynpool.analysis.comparison.summary import compare_runs

WriteRun = Callable[..., Path]


@pytest.mark.parametrize(
    ("human", "learned", "says"),
    [
        ((0.80, 0.81), (0.90, 0.91), "dynopool is ahead of human by 10.0 points"),
        ((0.80, 0.81), (0.90, 0.91), "that is more than the spread between runs (1.0 points)"),
        ((0.90, 0.91), (0.80, 0.81), "human is ahead of dynopool by 10.0 points"),
        ((0.80, 0.90), (0.82, 0.92), "within the spread between runs (10.0 points), so it may be chance"),
        ((0.80, 0.90), (0.90, 0.80), "human and dynopool are level in final test accuracy (85.0 % ± 7.1 against"),
        ((0.80,), (0.90,), "with a single run of dynopool and of human the spread is unknown, so this may be chance"),
        ((0.80,), (0.90, 0.92), "91.0 % ± 1.4 against 80.0 %, 2 runs against 1); with a single run of human"),
    ],
)
def test_headline_says_who_is_ahead_and_whether_it_may_be_chance(
    tmp_path: Path, write_run: WriteRun, human: tuple[float, ...], learned: tuple[float, ...], says: str
) -> None:
    folders = [write_run(tmp_path / f"h{i}", "human", i, final=final) for i, final in enumerate(human)]
    folders += [write_run(tmp_path / f"d{i}", "dynopool", i, final=final) for i, final in enumerate(learned)]
    assert says in compare_runs(folders).headline


@pytest.mark.parametrize(
    ("learned", "spread", "says"),
    [
        (0.06, 0.005, "by the paired test that is not chance (95 % interval +4.8 to +7.2, 3 paired seeds)."),
        (0.01, 0.005, "whether that is chance is not decided (95 % interval \u22120.2 to +2.2, 3 paired seeds)."),
        (-0.01, 0.005, "whether that is chance is not decided (95 % interval \u22120.2 to +2.2, 3 paired seeds)."),
        (0.0, 0.005, "they are equivalent within ±1 point (95 % interval \u22121.2 to +1.2, 3 paired seeds)."),
        (0.0, 0.01, "a difference either way is not ruled out (95 % interval \u22122.5 to +2.5, 3 paired seeds)."),
    ],
)
def test_headline_follows_the_paired_test(
    tmp_path: Path, write_run: WriteRun, learned: float, spread: float, says: str
) -> None:
    for seed, chance in enumerate((-spread, 0.0, spread)):
        write_run(tmp_path / f"h{seed}", "human", seed, final=0.8)
        write_run(tmp_path / f"d{seed}", "dynopool", seed, final=0.8 + learned + chance)
    assert says in compare_runs([tmp_path / f"{name}{seed}" for name in "hd" for seed in range(3)]).headline


def test_headline_says_how_the_best_does_against_the_baseline(tmp_path: Path, write_run: WriteRun) -> None:
    for seed, chance in enumerate((-0.005, 0.0, 0.005)):
        write_run(tmp_path / f"h{seed}", "human", seed, final=0.8)
        write_run(tmp_path / f"d{seed}", "dynopool", seed, final=0.87 + chance)
        write_run(tmp_path / f"r{seed}", "refine", seed, final=0.83 + 2 * chance)
    headline = compare_runs([tmp_path / f"{name}{seed}" for name in "hdr" for seed in range(3)]).headline
    assert "dynopool is ahead of the next best, refine, by 4.0 points" in headline
    assert "Against human it has +7.0 points; by the paired test that is not chance (95 % interval" in headline


def test_headline_states_the_cost(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(tmp_path / "h", "human"), write_run(tmp_path / "d", "dynopool")]
    comparison = compare_runs(folders)
    human, learned = (row.gmacs.mean for row in comparison.methods)
    assert f"dynopool needs {learned / human:.2f} times the MMACs of human" in comparison.headline
    folders = [write_run(tmp_path / "a", "human", final=0.5), write_run(tmp_path / "b", "other", learns=False)]
    assert "Both need the same MMACs (1.360 against 1.360)." in compare_runs(folders).headline


def test_headline_says_if_no_size_changed_during_training(tmp_path: Path, write_run: WriteRun) -> None:
    still = write_run(tmp_path / "still", "dynopool", epochs=3, final=0.8)
    table = list(csv.DictReader((still / "metrics.csv").open(newline="")))
    kept = [row | {"sizes": table[0]["sizes"]} for row in table]
    with (still / "metrics.csv").open("w", newline="") as file:
        columns = [column for column in table[0] if column != CHECKSUM]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    human = write_run(tmp_path / "human", "human", epochs=3, final=0.8)
    other = write_run(tmp_path / "other", "dynopool", 1, epochs=3, final=0.8)
    said = "No size changed during training with dynopool: every feature map kept its initial size."
    assert compare_runs([human, still]).headline.endswith(said)
    assert "No size changed" not in compare_runs([human, other]).headline
    assert "No size changed" not in compare_runs([human, still, other]).headline, "one of its runs did learn"
    assert "No size changed" not in compare_runs([human]).headline, "a human design learns no sizes anyway"
    text = (still / "config.yaml").read_text()
    (still / "config.yaml").write_text(text.replace("method: dynopool", "method: fixed"))
    assert "No size changed" not in compare_runs([human, still]).headline, "nor does this control"


def test_three_methods_rank_the_best_two(tmp_path: Path, write_run: WriteRun) -> None:
    finals = {"human": 0.7, "dynopool": 0.9, "shape_adaptor": 0.8}
    comparison = compare_runs([write_run(tmp_path / name, name, final=final) for name, final in finals.items()])
    assert "dynopool is ahead of the next best, shape_adaptor, by 10.0 points" in comparison.headline
    assert [row.method for row in comparison.methods] == ["human", "dynopool", "shape_adaptor"]


def test_unlike_runs_are_noted(tmp_path: Path, write_run: WriteRun) -> None:
    first = write_run(tmp_path / "a", "human", lr=0.1, device="cpu")
    second = write_run(tmp_path / "b", "dynopool", 1, lr=0.2, device="cuda", data={"name": "cifar10", "root": "/x"})
    notes = compare_runs([first, second]).notes
    assert "the runs differ in lr (0.1 / 0.2), so they are not directly comparable" in notes
    assert "the runs differ in data.name (digits / cifar10), so they are not directly comparable" in notes
    assert "the methods were not run with the same seeds" in notes
    assert not any("device" in note or "root" in note for note in notes)


def test_same_seed_twice_is_noted(tmp_path: Path, write_run: WriteRun) -> None:
    comparison = compare_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b")])
    assert comparison.notes == ("dynopool has several runs with seed 0; all are counted",)


def test_findings_say_what_is_decided(tmp_path: Path, write_run: WriteRun) -> None:
    finals = {
        "human": (0.500, 0.601, 0.702, 0.803),
        "ahead": (0.600, 0.700, 0.801, 0.902),
        "behind": (0.400, 0.502, 0.601, 0.703),
        "same": (0.502, 0.600, 0.701, 0.804),
        "unclear": (0.52, 0.58, 0.75, 0.80),
    }
    folders = [
        write_run(tmp_path / f"{m}{i}", m, i, final=f) for m, values in finals.items() for i, f in enumerate(values)
    ]
    found = compare_runs(folders).findings
    assert found[0].startswith("ahead is better than human by 9.9 points (95 % interval +9.8 to +10.0, 4 seeds, p = ")
    assert found[1].startswith(
        "behind is worse than human by 10.0 points (95 % interval \u221210.1 to \u22129.9, 4 seeds"
    )
    assert found[2:4] == ("Equivalent within ±1 point: same and human.", "Not decided: unclear against human.")
    assert not any("better" in sentence for sentence in found[2:])


def test_accuracy_on_validation_images_is_called_so(tmp_path: Path, write_run: WriteRun) -> None:
    data = {"name": "digits", "resolution": 32}
    held = [
        write_run(tmp_path / m, m, final=f, data=data | {"validation": 0.2})
        for m, f in (("human", 0.5), ("dynopool", 0.9))
    ]
    comparison = compare_runs(held)
    assert "points of final validation accuracy" in comparison.headline
    assert "accuracy: validation accuracy of the final epoch" in str(comparison)
    assert "chosen on these validation images" in comparison.findings[-1]
    assert "test accuracy" not in str(comparison)
    assert comparison.notes == (
        "accuracy is that on validation images, held out of the training images (data.validation: 0.2); the test images"
        " were not used",
    )
    mixed = compare_runs([held[0], write_run(tmp_path / "test", data=data)])
    assert "points of final accuracy" in mixed.headline
    assert any(note.startswith("the runs differ in data.validation (0.2 / None)") for note in mixed.notes)
    assert "test accuracy" in compare_runs([tmp_path / "test"]).headline


def test_matched_costs_and_starts_are_told(tmp_path: Path, write_run: WriteRun) -> None:
    learned = write_run(tmp_path / "d", "dynopool", start="random")
    cost = compare_runs([learned]).rows[0].gmacs
    folders = [write_run(tmp_path / "h", "human", start="designed"), learned]
    folders += [write_run(tmp_path / "s", "scaled", gmacs_budget={"match": "dynopool", "gmacs": cost})]
    comparison = compare_runs(folders)
    assert comparison.notes == ("initial sizes: dynopool random; as designed for all others",)
    assert [(row.method, row.matches) for row in comparison.methods] == [
        ("human", None), ("dynopool", None), ("scaled", "dynopool"),
    ]  # fmt: skip
    assert "as dynopool" in str(comparison)
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(comparison.to_csv()))}
    assert rows["scaled"]["matches"] == "dynopool"
    assert float(rows["scaled"]["gmacs_budget"]) == pytest.approx(cost, rel=1e-5)
    other = write_run(tmp_path / "r", "random", gmacs_budget={"match": "dynopool", "gmacs": cost / 1.01})
    said = f"its gmacs_budget of {cost / 1.01:.4g} is what dynopool, seed 0, cost when it was started"
    assert f"r: {said}; that run now costs {cost:.4g} GMACs" in compare_runs([*folders, other]).notes


def test_missed_and_kept_budgets_are_reported(tmp_path: Path, write_run: WriteRun) -> None:
    cost = compare_runs([write_run(tmp_path / "any")]).rows[0].gmacs
    budgets = {"over": cost / 1.021, "under": cost / 0.979, "just": cost / 1.019, "free": None}
    folders = [write_run(tmp_path / name, name, gmacs_budget=budget) for name, budget in budgets.items()]
    comparison = compare_runs(folders)
    found = {row.method: row for row in comparison.rows}
    assert found["over"].off_budget == pytest.approx(0.021)
    assert found["free"].off_budget is None
    notes = [note for note in comparison.notes if "missing its gmacs_budget" in note]
    assert notes == [
        f"over: costs {cost:.4g} GMACs, missing its gmacs_budget of {budgets['over']:g} by +2.1 %",
        f"under: costs {cost:.4g} GMACs, missing its gmacs_budget of {budgets['under']:g} by \u22122.1 %",
    ]
    missed = "missed by more than 2 %"
    assert f"3 runs with a gmacs_budget; {missed}: over, seed 0, under, seed 0." in comparison.findings
    kept = compare_runs([folders[2], folders[3]])
    assert f"1 run with a gmacs_budget; none is {missed}." in kept.findings
    assert not any("missing" in note for note in kept.notes)
    assert not any("gmacs_budget" in finding for finding in compare_runs([tmp_path / "any", folders[3]]).findings)
    head, over = (next(line for line in str(comparison).splitlines() if line.startswith(w)) for w in ("method", "over"))
    assert f"{1e3 * cost / 1.021:g}" in over.split()
    assert "budget" in head.split()
    assert "budget" not in str(compare_runs([tmp_path / "any"])).split()
    rows = {row["method"]: row["gmacs_budget"] for row in csv.DictReader(io.StringIO(comparison.to_csv()))}
    assert float(rows["over"]) == pytest.approx(cost / 1.021, rel=1e-5)
    assert rows["free"] == ""


def test_others_are_compared_with_the_human_design_at_the_most_common_resolution(
    tmp_path: Path, write_run: WriteRun
) -> None:
    folders = []
    for side in (16, 32, 48):
        point, data = f"data.resolution={side}", {"name": "digits", "resolution": side}
        folders += [write_run(tmp_path / str(side), "human", grid_point=point, data=data, input_size=(1, side, side))]
    folders += [write_run(tmp_path / f"d{i}", grid_point=f"gmacs_budget={i}", gmacs_budget=i) for i in (1, 2)]
    comparison = compare_runs(folders)
    assert len(comparison.pairs) == 4
    assert {pair.baseline for pair in comparison.pairs} == {"human data.resolution=32"}
    assert not any("input_size" in note or "resolution" in note for note in comparison.notes)
