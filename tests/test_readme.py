"""The README's examples run as printed, and what its comments claim is so; names that are public stay public."""

import ast
import pkgutil
import re
from pathlib import Path

import pytest

import dynpool
from dynpool import analysis

ROOT = Path(__file__).parents[1]


def example(word: str) -> str:
    """The one example in which a word occurs."""
    examples: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (found,) = [code for code in examples if word in code]
    return found


def test_the_example_of_a_pretrained_network_runs(capsys: pytest.CaptureFixture) -> None:
    exec(compile(example("freeze_report"), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "5 converted, 3 tied" in printed
    assert "2 strided, 0 resized" in printed


def test_example_runs_and_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    code = example("IMinTracker(")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert "(139.0, 139.0)" in printed.splitlines()[0]
    assert "5 converted, 3 tied" in printed
    assert len((tmp_path / "i_min.jsonl").read_text().splitlines()) == 2


def test_example_of_shape_adaptors_keeps_within_its_limit(capsys: pytest.CaptureFixture) -> None:
    exec(compile(example("alpha_optimizer"), "README.md", "exec"), {})
    sizes = list(ast.literal_eval(capsys.readouterr().out).values())
    assert sizes[0] == (64, 64)
    assert max(sizes[-1]) <= 6


@pytest.mark.parametrize(
    "path",
    re.findall(r"`((?:dynpool|analysis|baselines|configs|tests|docs)/[\w./]*)`", (ROOT / "README.md").read_text()),
)
def test_every_path_the_readme_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("page", ["training_loops.md", "sensitivity.md", "representations.md"])
def test_the_example_of_the_page_runs(page: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
    exec(compile(code, page, "exec"), {})


def test_public_names() -> None:
    for module, names in (
        (
            dynpool,
            "DynOPool DynOPool2d dynopool2d convert conversion_report resolutions sizes set_sizes count_macs GMACsLoss "
            "parameter_groups constrain freeze freeze_report register_kind register_op size_sensitivity trace",
        ),
        (analysis, "receptive_field IMinTracker compare_runs inspect write_report"),
    ):
        assert set(names.split()) <= set(module.__all__)
        assert all(callable(getattr(module, name)) for name in names.split())


@pytest.mark.parametrize("name", re.findall(r"`(dynpool(?:\.\w+)+)", (ROOT / "docs" / "glossary.md").read_text()))
def test_every_name_in_the_glossary_exists(name: str) -> None:
    pkgutil.resolve_name(name)
