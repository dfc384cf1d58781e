"""Public names are there in whatever order things are imported, and importing a package imports nothing heavy."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import dynpool

ROOT = Path(__file__).parents[3]
PACKAGES = ("dynpool", "dynpool.analysis", "dynpool.baselines")


def static_homes(package: str) -> dict[str, str]:
    """{name: submodule} as type checkers take it from the package's __init__."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module).removeprefix(f"{package}.") for node in imports for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_what_its_static_import_says(package: str) -> None:
    module = importlib.import_module(package)
    homes = static_homes(package)
    assert set(module.__all__) == set(homes)
    star: dict[str, object] = {}
    exec(f"from {package} import *", star)
    for name in module.__all__:
        value = getattr(module, name)
        assert not isinstance(value, ModuleType)
        assert value is star[name]
        assert value is getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        assert name in dir(module)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


def run(code: str) -> str:
    """What the code prints in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_importing_the_packages_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "matplotlib", "scipy", "timm", "rich", "jsonargparse")
    code = f"import sys, dynpool, analysis, baselines, dynpool.cli; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]\n"


def test_a_program_exported_with_learned_sizes_loads_after_the_import_that_the_readme_names(tmp_path: Path) -> None:
    program = torch.export.export(dynpool.DynOPool2d(2.0), (torch.randn(1, 2, 8, 8),))
    torch.export.save(program, tmp_path / "program.pt2")
    load = f"program = torch.export.load({str(tmp_path / 'program.pt2')!r})"
    assert (
        run(f"import torch, dynpool.resizers.functional; {load}; print(program.module()(torch.ones(1, 2, 8, 8)).shape)")
        == "torch.Size([1, 2, 4, 4])\n"
    )
