"""dynpool refine prints a plan, writes it, and says in one line what is wrong."""

import json
import sys

import pytest

from dynpool.baselines import RefinementPlan
from dynpool.cli import main
from tests.dynpool.cli.printed import document

MODEL = """\
from torch import nn
def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1))
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    (tmp_path / "my_net.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_net:make"
    sys.modules.pop("my_net", None)


def test_prints_and_writes_the_plan(model, tmp_path, capsys):
    assert main(["refine", model, "--input-size", "15", "--out", str(tmp_path / "plan.json")]) == 0
    out = capsys.readouterr().out
    assert "1 edit (less downsampling): I_min 15 -> 11, below I_res 15" in out
    plan = RefinementPlan.from_dict(json.loads((tmp_path / "plan.json").read_text()))
    assert str(plan) + f"\nwritten to {tmp_path / 'plan.json'}\n" == out


def test_sizes_of_one_to_three_numbers(model, capsys):
    assert main(["refine", model, "--input-size", "15,40"]) == 0
    assert "I_res 15x40" in capsys.readouterr().out
    assert main(["refine", model, "--input-size", "3,40,15"]) == 0
    assert "I_res 40x15" in capsys.readouterr().out


def test_not_reached_is_another_exit_code(model, capsys):
    assert main(["refine", model, "--input-size", "5"]) == 1
    assert "not reached: even without any of the 2 removable downsamplings, I_min is 7x7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL", "--input-size", "15", "--edits", "vgg"], "a file written by dynpool refine --out, or one of vgg19"),
        (["MODEL", "--input-size", "15", "--edits", "my_net.py"], "'my_net.py', a file without a plan of dynpool"),
        (["MODEL", "--input-size", "15", "--edits", "."], "--edits is '.', which cannot be read: Is a directory"),
        (["MODEL", "--input-sise", "15"], "unknown option '--input-sise'; did you mean '--input-size'?"),
        (["MODEL", "--input", "15"], "unknown option '--input'; did you mean '--input-size'?"),
        (["MODEL"], "the following arguments are required: --input-size"),
        (["MODEL", "--input-size", "0"], "'0' is not an input size; allowed: 32, 32,64, 3,32,64 or CHANNELS"),
        (["zzqqx", "--input-size", "64"], "timm.list_models() and torchvision.models.list_models() list them"),
        (
            ["torchvision:resnet18", "--input-size", "32", "--edits", "resnet50_cifar"],
            "with I_min 75, but this one has 139",
        ),
        (["MODEL", "--input-size", "15", "--edits", "vgg19"], "edits is 'vgg19', which does not fit this Sequential: "),
        (["torchvision:resnet18", "--input-size", "64", "--edits", "vgg19"], "which does not fit this ResNet: "),
        (["torchvision:resnet18", "--input-size", "64", "--edits", "mobilenet_v1"], "which does not fit this ResNet: "),
        (["resnt18", "--input-size", "64"], "did you mean 'resnet18'"),
        (["no_such_module:make", "--input-size", "64"], "there is no module 'no_such_module'"),
        (["MODEL", "--input-size", "1,15,15"], "the model cannot run at input_size=(1, 15, 15)"),
    ],
)
def test_user_errors_are_one_line(model, capsys, arguments, message):
    assert main(["refine", *(model if a == "MODEL" else a for a in arguments)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("dynpool: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_plan_is_made_again_from_its_file(model, capsys):
    main(["refine", model, "--input-size", "15", "--out", "plans/small/plan.json"])
    found = capsys.readouterr().out
    assert main(["refine", model, "--input-size", "15", "--edits", "plans/small/plan.json"]) == 0
    assert found == capsys.readouterr().out + "written to plans/small/plan.json\n"
    assert main(["refine", model, "--input-size", "15", "--out", "plans/small/plan.json"]) == 0, "a plan is replaced"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("FOLDER", "it is a folder; name a file with --out"),
        ("/proc/plan.json", "choose a place that can be written with --out\n"),
        ("x" * 300, "File name too long"),
    ],
)
def test_the_place_of_the_plan_is_tried_before_the_work(tmp_path, monkeypatch, capsys, out, message):
    def work(*arguments, **options):
        raise AssertionError("the work was begun")

    monkeypatch.setattr("dynpool.baselines.refine", work)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FILE").touch()
    assert main(["refine", "vgg11", "--input-size", "32", "--out", out]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"dynpool: error: cannot write {out}: ")
    assert message in err
    assert main(["refine", "vgg11", "--input-size", "32", "--out", "FILE"]) == 2
    assert "--out is FILE, a file that is not a plan of dynpool refine: name another file" in capsys.readouterr().err
    assert main(["refine", "vgg11", "--input-size", "32", "--out", "FILE/plan.json"]) == 2
    assert "cannot write FILE: FILE is a file; choose a folder with --out" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["FILE", "FOLDER"]


def test_json_is_the_plan_whether_the_goal_is_reached_or_not(model, capsys):
    for size, reached in (("15", True), ("5", False)):
        assert main(["refine", model, "--input-size", size, "--json"]) == (0 if reached else 1)
        found = document(capsys)
        assert found["reached"] is reached
        assert RefinementPlan.from_dict(found).to_dict() == found
