"""Tests mirror the packages: the tests of X/y.py are in tests/X/test_y.py. Packages use what others export."""

import ast
from collections.abc import Iterator
from importlib import import_module
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


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that a file imports from this library, with relative imports resolved."""
    inside = path.with_suffix("").parts
    here = ("dynpool", *inside) if inside[0] != "dynpool" else inside
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom):
            module = ".".join([*(here[: -node.level] if node.level else []), *filter(None, [node.module])])
            if module.split(".")[0] == "dynpool":
                yield from ((module, alias.name) for alias in node.names)


def room(module: str) -> tuple[str, ...]:
    """The package that a module, with this name from `dynpool` on, is in; a package is in itself."""
    parts = module.split(".")
    return tuple(parts if (ROOT / Path(*parts)).is_dir() else parts[:-1])


TOOLS = {("dynpool", "common"), ("dynpool", "analysis", "common")}  # of files that each are one tool


def test_modules_import_from_other_packages_what_these_export() -> None:
    wrong = []
    for path in modules():
        own = ("dynpool", *path.parts[:-1])[path.parts[0] == "dynpool" :]
        for module, name in imports(path):
            owner = room(module)
            if len(owner) == 1 or owner in TOOLS or owner == own[: len(owner)] or own == owner[: len(own)]:
                continue  # its own package, one around it or one in it
            if module != ".".join(owner) or name not in import_module(module).__all__:
                wrong.append(f"{path}: from {module} import {name}")
    assert not wrong
