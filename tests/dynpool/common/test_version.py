"""The version is said twice, and is one."""

import tomllib
from pathlib import Path

import dynpool


def test_the_library_and_its_package_have_one_version() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert dynpool.__version__ == project["version"]
