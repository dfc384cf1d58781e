"""The core needs few packages; another one that is missing is named with how to install it, and nothing is hidden."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dynpool.common.extras import EXTRAS, optional

ROOT = Path(__file__).parents[3]
IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn", "curvlinops-for-pytorch": "curvlinops"}

WITHOUT = f"""
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name.partition(".")[0] in {[*EXTRAS]} else find(name, *where)
"""


def run_without_extras(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own in which no package of an extra can be imported."""
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, cwd=ROOT, check=False)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    for module in ("lightning", "pytorch_lightning", "transformers"):
        name = f"dynpool.analysis.integrations.{module}"
        monkeypatch.delitem(sys.modules, name, raising=False)
        for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
            monkeypatch.setitem(sys.modules, loaded, None)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModuleNotFoundError, match=rf"{module}.*pip install 'dynpool\[\w+\]'"):
            importlib.import_module(name)


def test_another_missing_package_is_not_hidden():
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_there'"), optional():
        importlib.import_module("not_there")


def test_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {
        (re.split(r"[><=;\[ ]", requirement)[0], extra)
        for extra, requirements in project["optional-dependencies"].items()
        for requirement in requirements
    }
    for package, extra in EXTRAS.items():
        distribution = next((d for d, name in IMPORT_NAMES.items() if name == package), package.replace("_", "-"))
        if package != "pytorch_lightning":  # comes with lightning
            assert (distribution, extra) in listed


def test_the_core_works_without_any_extra(tmp_path):
    done = run_without_extras(f"""
import torch
from torch import nn
import dynpool
from dynpool.analysis import IMinTracker, receptive_field
from dynpool.baselines import DiffStride2d, ShapeAdaptor2d, refine
model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
size = (3, 32, 32)
for pool in (dynpool.DynOPool2d, DiffStride2d, ShapeAdaptor2d):
    learned = dynpool.convert(model, size, pool=pool)
    (learned(torch.randn(2, *size)).mean() + dynpool.GMACsLoss(learned, size)()).backward()
    print(receptive_field(learned, size).i_min, dynpool.count_macs(learned, size).total > 0)
IMinTracker(learned, size, {str(tmp_path / "i_min.jsonl")!r}).log(0)
dynpool.save(learned, {str(tmp_path / "learned.pt")!r})
print(dynpool.freeze(learned)(torch.randn(1, *size)).shape, len(str(receptive_field(model, size))) > 0)
refine(model, size)
receptive_field(model, size).to_dot()
""")
    assert not done.returncode, done.stderr
    assert done.stdout.count("True") == 4


NEEDS = [
    ("dynpool.analysis.receptive_field(torch.nn.Conv2d(3, 3, 3), (3, 8, 8)).plot()", "matplotlib", "plots"),
    ("dynpool.analysis.compare_runs('nowhere')", "matplotlib", "plots"),
    ("dynpool.analysis.inspect", "matplotlib", "plots"),
    ("from dynpool.training import train", "accelerate", "train"),
    ("from dynpool.common.library_models import model_names; model_names('timm')", "timm", "timm"),
]


@pytest.fixture(scope="module")
def raised():
    """{code: the error it raises where there are no extras}, of one process."""
    done = run_without_extras(f"""
import json, torch, dynpool
raised = {{}}
for code in {[code for code, _, _ in NEEDS]}:
    try:
        exec(code)
    except ModuleNotFoundError as error:
        raised[code] = str(error)
print(json.dumps(raised))
""")
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("code", "package", "extra"), NEEDS)
def test_what_needs_an_extra_names_it(raised, code, package, extra):
    assert f"the package '{package}' is not installed: pip install 'dynpool[{extra}]'" in raised[code]


def test_a_command_that_needs_an_extra_names_it_in_one_line():
    done = run_without_extras(
        "from dynpool.cli import main; sys.exit(main(['analyze', 'resnet18', '--input-size', '32']))"
    )
    assert done.returncode == 2
    assert re.fullmatch(
        r"dynpool: error: the package '\w+' is not installed: pip install 'dynpool\[\w+\]'\n", done.stderr
    )
