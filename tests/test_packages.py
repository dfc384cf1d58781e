"""What a package exports, other packages import from the package and not from the file that defines it."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(("dynpool", *parts) if parts[0] != "dynpool" else parts): path
    for folder in ("dynpool", "analysis", "baselines")
    for path in (ROOT / folder).rglob("*.py")
    if (parts := path.relative_to(ROOT).with_suffix("").parts)[1] not in ("analysis", "baselines")  # links
}  # fmt: skip


def imports(module: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every name that a module imports from another one."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            yield from ((".".join([*base, *filter(None, [node.module])]), alias.name) for alias in node.names)


def exported(package: str) -> set[str]:
    """The names in the `__all__` of a package, or of one of its files."""
    for node in ast.parse(FILES[package].read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


PACKAGES = {m.removesuffix(".__init__"): names for m in FILES if m.endswith(".__init__") and (names := exported(m))}


ROOMS = {m.removesuffix(".__init__") for m in FILES if m.endswith(".__init__")}
TOOLS = {"dynpool", "dynpool.common", "dynpool.analysis.common"}  # each file is one tool, imported by its own name
VOCABULARY = ("dynpool.graph", "primitives")  # 31 classes, imported as a module


def room(module: str) -> str:
    """The package that a module is in; a package is in itself."""
    module = module.removesuffix(".__init__")
    return module if module in ROOMS else module.rpartition(".")[0]


def test_other_packages_import_from_the_package() -> None:
    past = []
    for module in FILES:
        here = room(module)
        for source, name in imports(module):
            there = room(source)
            if there not in ROOMS - TOOLS or f"{here}.".startswith(f"{there}.") or f"{there}.".startswith(f"{here}."):
                continue  # another library, a tool, the package itself, one around it or one in it
            if (source, name) != VOCABULARY and (source != there or name not in PACKAGES.get(there, ())):
                past.append(f"{module} imports {name} from {source}, which {there} does not export")
    assert not past


@pytest.mark.parametrize("package", PACKAGES)
def test_an_exported_name_is_no_module(package: str) -> None:
    found = importlib.import_module(package)
    assert not [n for n in PACKAGES[package] if f"{package}.{n}" in FILES or f"{package}.{n}.__init__" in FILES]
    assert all(hasattr(found, name) for name in PACKAGES[package])
