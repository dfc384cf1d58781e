"""The version is said once."""

import re
from importlib.metadata import version
from pathlib import Path

import yaml

import dynpool

ROOT = Path(__file__).parents[3]


def test_the_installed_package_has_the_version_of_the_library() -> None:
    assert version("dynpool") == dynpool.__version__


def test_changelog_and_citation_have_the_version() -> None:
    released = re.findall(r"^## \[(\d[^]]*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert released[0] == (dynpool.__version__, citation["date-released"])
    assert citation["version"] == dynpool.__version__
