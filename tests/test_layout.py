"""Tests mirror the packages: the tests of X/y.py are in tests/X/test_y.py."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("dynpool", "analysis", "baselines")
TESTED_WITHIN_THE_KERNELS = {  # parts of kernels, which run under the interpreter: see triton_cases.py
    Path("dynpool/resizers/kernels/triton/lines.py"),
}


def modules() -> set[Path]:
    """All modules but the `__init__` and `__main__` of packages; links to a package are not followed."""
    found = {path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    linked = {path.relative_to(ROOT) for path in (ROOT / "dynpool").iterdir() if path.is_symlink()}
    return {p for p in found if not p.name.startswith("__") and not linked & set(p.parents)}


def test_every_module_has_a_test_file_of_its_name() -> None:
    untested = {path for path in modules() if not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()}
    assert untested == TESTED_WITHIN_THE_KERNELS
