"""The version is said once."""

from importlib.metadata import version

import dynpool


def test_the_installed_package_has_the_version_of_the_library() -> None:
    assert version("dynpool") == dynpool.__version__
