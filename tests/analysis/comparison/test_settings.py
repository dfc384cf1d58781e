"""The pairs and the margin of a report are those of the comparison that its runs are of."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dynpool.analysis.common.checksums import with_heading
from dynpool.analysis.comparison.settings import Settings, find_settings
from dynpool.analysis.comparison.summary import compare_runs

WriteRun = Callable[..., Path]


def written(folder: Path, **keys: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "comparison.yaml").write_text(with_heading(yaml.safe_dump(keys)))
    return folder / "run"


def test_they_are_read_from_the_folder_that_all_runs_lie_in(tmp_path: Path) -> None:
    run = written(tmp_path / "a", equivalence_margin=0.5, pairs=[["dynopool", "scaled"]])
    assert find_settings([run, tmp_path / "a" / "other"]) == Settings((("dynopool", "scaled"),), 0.005)
    assert find_settings([run, tmp_path / "b" / "other"]) == Settings()
    assert find_settings([tmp_path / "b" / "other"]) == Settings()
    assert find_settings([written(tmp_path / "c", methods=["human"])]) == Settings(None, 0.01)


def test_a_report_uses_them(comparison_folder: Path) -> None:
    written(comparison_folder, equivalence_margin=20, pairs=[["human", "dynopool"]])
    (pair,) = compare_runs([comparison_folder]).pairs
    assert (pair.group, pair.baseline, pair.margin) == ("human", "dynopool", 0.2)


def test_damage_is_noted(tmp_path: Path, comparison_folder: Path) -> None:
    run = written(tmp_path / "a", equivalence_margin=0.5)
    path = tmp_path / "a" / "comparison.yaml"
    path.write_text(path.read_text().replace("0.5", "2.5"))
    assert find_settings([run]) == Settings(None, 0.025, ("comparison.yaml is damaged or was edited",))
    (comparison_folder / "comparison.yaml").write_text("[")
    assert "comparison.yaml is damaged" in compare_runs([comparison_folder]).notes[0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"equivalence_margin": -1}, r"equivalence_margin is -1, must be a number of points above 0"),
        ({"pairs": ["human"]}, r"pairs is \['human'\], must be null or a list of pairs"),
    ],
)
def test_wrong_ones_are_refused(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_settings([written(tmp_path / "a", **keys)])
