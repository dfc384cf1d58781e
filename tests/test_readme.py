"""The README's example runs as printed and fits two screens; names that are public stay public."""

import ast
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import dynpool
from dynpool import analysis

ROOT = Path(__file__).parents[1]


def test_the_example_trains_and_says_what_its_comments_say(capsys: pytest.CaptureFixture) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    scope: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), scope)
    i_min, sizes = capsys.readouterr().out.splitlines()
    assert i_min == "(139.0, 139.0)"
    assert ast.literal_eval(sizes) == dynpool.sizes(scope["model"], (3, 64, 64))
    assert not [name for name, _ in scope["plain"].named_parameters() if "alpha" in name]


def test_the_two_commands_for_a_fresh_machine_are_targets() -> None:
    commands = re.findall(r"^    make (\w+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(commands) == {"compare", "test"} <= set(targets)


def test_it_fits_two_screens() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 700


@pytest.mark.parametrize(
    "path",
    re.findall(
        r"`((?:dynpool|analysis|baselines|configs|tests|docs)/[\w./]*)`",
        "".join((ROOT / page).read_text() for page in ("README.md", "docs/layout.md")),
    ),
)
def test_every_path_the_readme_and_the_layout_name_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_public_names() -> None:
    for module, names in (
        (
            dynpool,
            "DynOPool DynOPool2d dynopool2d convert conversion_report resolutions sizes set_sizes count_macs GMACsLoss "
            "parameter_groups constrain freeze freeze_report register_kind register_macs register_op size_sensitivity "
            "trace",
        ),
        (analysis, "receptive_field IMinTracker compare_runs inspect write_report"),
    ):
        assert set(names.split()) <= set(module.__all__)
        assert all(callable(getattr(module, name)) for name in names.split())


@pytest.mark.parametrize("name", re.findall(r"`(dynpool(?:\.\w+)+)", (ROOT / "docs" / "glossary.md").read_text()))
def test_every_name_in_the_glossary_exists(name: str) -> None:
    pkgutil.resolve_name(name)
