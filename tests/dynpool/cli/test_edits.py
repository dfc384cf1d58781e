"""Edits named on the command line: a published one, or the file of a plan; anything else is named."""

import json
import re

import pytest

from dynpool.baselines import RefinementPlan, published_edits, refine
from dynpool.cli.edits import find_edits
from dynpool.training.errors import ConfigError
from tests.baselines.nets import chain


def test_a_published_edit_is_its_name_even_beside_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg19").write_text("no plan")
    assert "vgg19" in published_edits()
    assert find_edits("vgg19") == "vgg19"


def test_a_file_is_the_plan_in_it(tmp_path):
    _, plan = refine(chain(1, 2, 1), (3, 9, 9))
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_dict()))
    found = find_edits(str(tmp_path / "plan.json"))
    assert isinstance(found, RefinementPlan)
    assert found == plan


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "allowed: a file written by dynpool refine --out, or one of "),
        (lambda path: path.mkdir(), "which cannot be read: Is a directory"),
        (lambda path: path.write_text("{"), "a file without a plan of dynpool refine --out: it is not JSON ("),
        (lambda path: path.write_text("[1]"), "a file without a plan of dynpool refine --out: "),
        (lambda path: path.write_bytes(b"\xff\xfe"), "a file without a plan of dynpool refine --out: "),
    ],
    ids=["nothing there", "a folder", "no JSON", "no plan", "no text"],
)
def test_what_is_neither_is_named_with_what_is_allowed(tmp_path, make, said):
    path = tmp_path / "plan.json"
    make(path)
    with pytest.raises(ConfigError, match=rf"--edits is '{re.escape(str(path))}'.*{re.escape(said)}"):
        find_edits(str(path))
