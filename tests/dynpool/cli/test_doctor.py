"""The doctor says what works and what is missing for what; its exit code is that of the self-test."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import dynpool
from dynpool.cli import main, self_test
from dynpool.cli.doctor import NEEDED_BY
from dynpool.common.extras import EXTRAS
from tests.dynpool.common.test_extras import run_without_extras


@pytest.fixture(autouse=True)
def only_float32(monkeypatch):
    monkeypatch.setattr(self_test, "TOLERANCES", {torch.float32: self_test.TOLERANCES[torch.float32]})


def test_it_prints_versions_checks_and_extras(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"dynpool {dynpool.__version__}, Python {sys.version.split()[0]}, ")
    assert "float32   channels_last" in said
    assert "FAILED" not in said
    assert said.endswith("\nthe operator works on cpu\n" if not torch.cuda.is_available() else "\n")


def test_json_has_the_same(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    assert found["torch"] == torch.__version__
    assert [check["layout"] for check in found["checks"] if check["device"] == "cpu"] == ["contiguous", "channels_last"]
    assert set(found["extras"]) == set(EXTRAS.values())


def test_a_wrong_operator_is_exit_code_1(monkeypatch, capsys):
    monkeypatch.setattr(dynpool, "dynopool2d", lambda x, alpha, reduce: (x.sum() + alpha.sum()).expand(1))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said
    assert "the operator's self-test failed on cpu" in said


def test_with_the_core_alone_it_names_every_extra_and_what_needs_it():
    done = run_without_extras("from dynpool.cli import main; sys.exit(main(['doctor', '--json']))")
    assert done.returncode == 0, done.stderr
    extras = json.loads(done.stdout)["extras"]
    assert {name: sorted(extra["missing"]) for name, extra in extras.items()} == {
        name: sorted(package for package, of in EXTRAS.items() if of == name) for name in set(EXTRAS.values())
    }


def test_every_extra_says_what_it_is_for():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert set(NEEDED_BY) == set(EXTRAS.values())
    assert set(NEEDED_BY) <= set(project["optional-dependencies"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("problem", "said"),
    [(None, "whose kernels are used on GPUs"), ("no driver", r"cannot be used (no driver): the operator is plain")],
)
def test_what_triton_does_where_there_is_a_gpu(problem, said, monkeypatch):
    from dynpool import resizers
    from dynpool.cli.doctor import _triton

    assert "not needed as there is no GPU" in _triton()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(resizers, "triton_problem", lambda: problem)
    assert said in _triton()


@pytest.mark.parametrize(
    ("problem", "said"), [(None, "kernels in C, except for"), ("no compiler", "which is slower, as no compiler")]
)
def test_what_a_cpu_does(problem, said, monkeypatch):
    from dynpool import resizers
    from dynpool.cli.doctor import _devices

    monkeypatch.setattr(resizers, "native_problem", lambda: problem)
    assert said in _devices()["cpu"]
