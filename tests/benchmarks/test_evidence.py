"""Committed rows of runs give the same comparison as the runs themselves."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import scipy.stats
import yaml

from benchmarks import evidence, hypotheses
from dynpool.analysis import compare_runs
from dynpool.training.loop import train
from tests.dynpool.training.runs import tiny_run

PAIRS = [["dynopool", "human"]]
KEPT = ("method", "group", "seed", "accuracy", "gmacs", "gmacs_budget", "validation", "sizes", "i_min", "unproductive")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """The folder of a comparison with a run of each method and seed, and one that is not finished."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    for method in ("human", "dynopool"):
        for seed in (0, 1):
            options = (f"--method={method}", f"--seed={seed}", "--epochs=2", "--data.validation=0.5")
            train(tiny_run(folder / f"{method}-seed{seed}", *options))
    (folder / "comparison.yaml").write_text(yaml.safe_dump({"pairs": PAIRS}))
    return folder


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A project with a configuration but without rows."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(yaml.safe_dump({"name": "tiny", "pairs": PAIRS}))
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    return tmp_path


def test_rows_give_the_comparison_of_the_runs(comparison, results):
    assert evidence.add(comparison, "tiny") == (4, [])
    again, runs = evidence.comparison("tiny"), compare_runs([comparison])
    assert [[getattr(row, key) for key in KEPT] for row in again.rows] == [
        [getattr(row, key) for key in KEPT] for row in runs.rows
    ]
    assert [row.validation for row in again.rows] == [0.5] * 4
    assert again.pairs == runs.pairs
    assert [(pair.group, pair.baseline) for pair in again.pairs] == [("dynopool", "human")]
    histories = [
        [[(row.epoch, row.test_accuracy, row.sizes) for row in run.history] for run in of.runs] for of in (again, runs)
    ]
    assert histories[0] == histories[1]


def test_all_pairs_of_a_configuration_are_tested(comparison, results):
    evidence.add(comparison, "tiny")
    (results / "configs" / "tiny.yaml").write_text(yaml.safe_dump({"name": "tiny", "pairs": "all"}))
    assert [(pair.group, pair.baseline) for pair in evidence.comparison("tiny").pairs] == [("dynopool", "human")]


def test_rows_are_replaced_and_others_stay(comparison, results):
    evidence.add(comparison, "tiny")
    before = evidence.path_of("tiny").read_bytes()
    evidence.add(comparison / "dynopool-seed1", "tiny")
    assert evidence.path_of("tiny").read_bytes() == before


def test_unfinished_runs_are_left_out(comparison, results, tmp_path):
    config = replace(tiny_run(tmp_path / "part" / "human-seed7", "--method=human", "--seed=7"), epochs=1)
    train(config)
    path = tmp_path / "part" / "human-seed7" / "config.yaml"
    path.write_text("\n".join(path.read_text().splitlines()[1:]).replace("\nepochs: 1\n", "\nepochs: 9\n"))
    assert evidence.add(tmp_path / "part", "part") == (0, ["human-seed7"])
    assert evidence.read(evidence.path_of("part")) == []


def test_tables_stand_between_their_marks(comparison, results):
    evidence.add(comparison, "tiny")
    page = "# Evidence\n\n<!-- methods tiny -->\nold\n<!-- end -->\ntext\n<!-- pairs tiny -->\n<!-- end -->\n"
    made = evidence.filled(page)
    assert "old" not in made
    assert "| human | 2 |" in made
    assert "| dynopool against human | 2 |" in made
    assert "\ntext\n" in made
    assert evidence.filled(made) == made
    pictures = evidence.pictures("![Accuracy](evidence-accuracy_vs_gmacs-tiny.png) and [no picture](evidence.md)")
    assert list(pictures) == ["evidence-accuracy_vs_gmacs-tiny.png"]
    assert pictures["evidence-accuracy_vs_gmacs-tiny.png"].startswith(b"\x89PNG")
    several = evidence.pictures(
        "(evidence-sizes-tiny.png) (evidence-pairs-tiny.png) (evidence-accuracy_vs_gmacs-tiny.png)"
    )
    assert len(set(several.values())) == 3
    assert several["evidence-accuracy_vs_gmacs-tiny.png"] == pictures["evidence-accuracy_vs_gmacs-tiny.png"]
    with pytest.raises(ValueError, match="<!-- paris tiny -->: expected one of methods, pairs, shapes"):
        evidence.filled("<!-- paris tiny --><!-- end -->")
    with pytest.raises(ValueError, match=r"<!-- pairs tinny -->: .* rows in benchmarks/results"):
        evidence.filled("<!-- pairs tinny --><!-- end -->")


def test_answers_are_those_of_the_comparisons_that_have_rows(comparison, results, monkeypatch):
    monkeypatch.setattr(hypotheses, "IMAGES", {"tiny": "tiny images", "later": "later images"})
    evidence.add(comparison, "tiny")
    page = evidence.filled("<!-- answers all -->\n<!-- end -->\n<!-- missed all -->\n<!-- end -->")
    assert "| tiny images | dynopool | open (" in page, "of two seeds"
    assert "later images" not in page
    assert evidence.pictures("(evidence-answers-H1.png)")["evidence-answers-H1.png"].startswith(b"\x89PNG")


def test_shapes_are_compared_with_those_on_plain_images(results, monkeypatch):
    def found(name):
        ratios = {"a-plain": (0.9, 1.1), "a-tall": (1.3, 1.7)}[name]
        return SimpleNamespace(
            rows=[
                SimpleNamespace(group="dynopool start=designed", seed=s, i_min=(r, 1.0)) for s, r in enumerate(ratios)
            ]
        )

    for variant in ("plain", "tall"):
        evidence.path_of(f"a-{variant}").touch()
    monkeypatch.setattr(evidence, "comparison", found)
    plain, tall = evidence.TABLES["shapes"]("a").splitlines()[2:]
    assert plain.startswith("| plain | 2 | 1.00 | ")
    assert plain.endswith("| 1.000 | - | - |")
    assert tall.startswith("| tall | 2 | 1.50 | ")
    p = scipy.stats.ttest_rel((1.3, 1.7), (0.9, 1.1)).pvalue
    assert tall.endswith(f"| {scipy.stats.ttest_1samp((1.3, 1.7), 1).pvalue:.3f} | +0.50 | {p:.3f} |")
