"""dynpool analyze says and writes what the report holds, of named models, checkpoints and runs."""

import importlib
import json
import os
import stat
import sys

import pytest
import torch
import torchvision
from PIL import Image

import dynpool
from dynpool.analysis import receptive_field
from dynpool.analysis.model_report.text import verdict
from dynpool.cli import main
from tests.dynpool.cli.printed import document
from tests.dynpool.cli.tiny import TINY

FILES = {"report.json", "layers.csv", "fields.png", "network.png", "network.dot", "image.png"}
CONFIG = TINY + "method: dynopool\nalpha_lr: 1\n"


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture
def no_graphviz(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_named_model(tmp_path, capsys, no_graphviz):
    out = tmp_path / "out"
    assert main(["analyze", "torchvision:vgg11", "--input-size", "32,48", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    with torch.device("meta"):
        report = receptive_field(torchvision.models.vgg11(), (3, 32, 48))
    assert f"\n{verdict(report)}\n" in said
    assert all(row.name in said for row in report.layers)
    assert {file.name for file in out.iterdir()} == FILES
    assert all(file in said for file in FILES)
    written = json.loads((out / "report.json").read_text(), parse_constant=refuse)
    assert written["model"] == "torchvision:vgg11"
    assert written["i_min"] == list(report.i_min)
    assert len((out / "layers.csv").read_text().splitlines()) == 1 + len(report.layers)
    assert Image.open(out / "fields.png").width == 1800


def test_checkpoint_image_layers_and_effective(tmp_path, capsys, no_graphviz, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small_nets.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, padding=1))\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.path.insert(0, str(tmp_path))
    small_nets = importlib.import_module("small_nets")
    learned = dynpool.convert(small_nets.net(), (1, 24, 24))
    dynpool.set_sizes(learned, {"0": (18, 9)})
    torch.save(learned.state_dict(), "learned.pt")
    Image.new("RGB", (30, 30), "red").save("red.png")
    arguments = (
        "analyze small_nets:net --input-size 1,24,24 --checkpoint learned.pt --layers 1 --image red.png --effective"
    )
    assert main(arguments.split()) == 0
    out = tmp_path / "analyze-small_nets-net"
    assert {file.name for file in out.iterdir()} == FILES | {"effective.json", "effective.png"}
    layers = json.loads((out / "report.json").read_text())["layers"]
    assert layers[1]["shape"][2:] == [18, 9]
    effective = json.loads((out / "effective.json").read_text(), parse_constant=refuse)
    assert effective["layer"] == "1"
    assert max(effective["projection"][0]) == effective["max_projected_gradient"][0] > 0
    sys.modules.pop("small_nets")


@pytest.mark.parametrize("frozen", [False, True])
def test_checkpoints_are_analysed_as_they_were_converted(frozen, tmp_path, monkeypatch, no_graphviz):
    """Resized before the strided layers, the fields are others than behind them; Lightning's names begin with model."""
    monkeypatch.chdir(tmp_path)
    learned = dynpool.convert(torchvision.models.resnet18(), (3, 32, 32), order="before")
    dynpool.set_sizes(learned, {"maxpool": (11, 9)})
    model = dynpool.freeze(learned) if frozen else learned
    torch.save({"state_dict": torch.nn.ModuleDict({"model": model}).state_dict()}, "lightning.ckpt")
    arguments = "analyze torchvision:resnet18 --input-size 32 --checkpoint lightning.ckpt --prefix model. --out out"
    assert main(arguments.split()) == 0
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    report = receptive_field(model, (3, 32, 32))
    default = receptive_field(dynpool.convert(torchvision.models.resnet18(), (3, 32, 32)), (3, 32, 32))
    assert written["i_min"] == list(report.i_min) != list(default.i_min)
    assert [row["name"] for row in written["layers"]] == [row.name for row in report.layers]


def test_run(tmp_path, capsys, no_graphviz, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "tiny.yaml"), "--out", str(run)]) == 0
    assert main(["analyze", "--run", str(run), "--input-size", "32", "--out", str(tmp_path / "larger")]) == 0
    assert "the run was trained at 1x16x16: its pictures over time" in capsys.readouterr().err
    assert main(["analyze", "--run", str(run)]) == 0
    assert not capsys.readouterr().err
    out = run / "analyze"
    assert {file.name for file in out.iterdir()} == FILES | {"i_min.png", "sizes.png", "alphas.png"}
    last = json.loads((run / "i_min.jsonl").read_text().splitlines()[-1])
    written = json.loads((out / "report.json").read_text())
    assert written["i_min"] == pytest.approx(last["i_min"]), "that of the learned model"
    assert written["model"] == "dynopool, seed 0"

    (tmp_path / "ran.py").write_text(
        "from dynpool.training.models import narrow_vgg\ndef net():\n    return narrow_vgg(10, 1, widths=[4, 6, 8])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = ["--checkpoint", str(run / "checkpoints" / "last.pt"), "--out", str(tmp_path / "again")]
    assert main(["analyze", "ran:net", "--input-size", "1,16,16", *checkpoint]) == 0
    again = json.loads((tmp_path / "again" / "report.json").read_text())
    assert [again["i_min"], again["layers"]] == [written["i_min"], written["layers"]], "the sizes that were learned"

    (run / "checkpoints" / "last.pt").write_bytes(b"PK\x03\x04")
    assert main(["analyze", "--run", str(run)]) == 2
    assert "last.pt: damaged" in capsys.readouterr().err
    (run / "checkpoints" / "last.pt").unlink()
    assert main(["analyze", "--run", str(run)]) == 2
    assert "has no checkpoint yet" in capsys.readouterr().err


def test_a_model_with_edits_by_modules(tmp_path, capsys, no_graphviz):
    out = tmp_path / "out"
    edited = ["analyze", "torchvision:vgg19", "--input-size", "224", "--edits", "vgg19", "--out", str(out)]
    assert main([*edited, "--columns", "kind,flops"]) == 2
    assert "columns: unknown column 'flops'; allowed: kind, calls, kernel" in capsys.readouterr().err
    assert main([*edited, "--depth", "-1"]) == 2
    assert "depth must be an int of at least 0, got -1" in capsys.readouterr().err
    assert not out.exists()
    assert main([*edited, "--depth", "1", "--columns", "kind,input,parameters,weights,peak"]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert said[0] == "module kind input parameters weights peak".split()
    assert [line[0] for line in said[1:5]] == ["VGG", "features", "avgpool", "classifier"]
    assert said[1][2:4] == ["3x224x224", "143,667,240"]
    assert json.loads((out / "report.json").read_text())["i_min"] == [220, 220], "as printed by Richter and Pal"


def test_graphviz_renders_where_it_is(tmp_path, monkeypatch, caplog):
    program = tmp_path / "dot"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program.write_text('#!/bin/sh\necho "<svg/>" > "$4"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    arguments = ["analyze", "vgg11", "--input-size", "3,32,32", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert (tmp_path / "out" / "network.svg").read_text() == "<svg/>\n"
    program.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    (tmp_path / "out" / "network.svg").unlink()
    assert main(arguments) == 0
    assert "network.svg was not rendered: out of memory" in caplog.text


def test_a_file_is_no_run(tmp_path, capsys):
    file = tmp_path / "metrics.csv"
    file.touch()
    assert main(["analyze", "--run", str(file)]) == 2
    assert capsys.readouterr().err == f"dynpool: error: {file}: a file, not a run folder\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "dynpool analyze needs a MODEL, or --run FOLDER"),
        ("vgg11", "dynpool analyze needs --input-size, for example --input-size 32"),
        ("resnet5O --input-size 32", "no such model in timm or torchvision; did you mean"),
        ("resnet10t --input-size 32 --checkpoint none.pt", "none.pt: there is no such file"),
        ("resnet10t --input-size 32 --checkpoint .", "checkpoint is ., which is a folder: name a file in it"),
        ("resnet10t --input-size 32 --prefix model.", "--prefix is 'model.': it requires --checkpoint"),
        ("vgg11 --input-size 1", "the model cannot run at input_size=(3, 1, 1)"),
        ("vgg11 --input-size 32 --layers features.1", "layers has 'features.1': the model has no such layer"),
        ("vgg11 --input-size 32 --image none.png", "none.png', which cannot be read"),
        ("vgg11 --run somewhere", "MODEL is 'vgg11': omit it with --run, which determines the model"),
        ("--run nowhere", "no such run folder"),
        ("vgg11 --input-sise 32", "unknown option '--input-sise'; did you mean '--input-size'?"),
        ("vgg11 --input-size 32 --effect", "unknown option '--effect'; did you mean '--effective'?"),
        ("vgg11 --input-size 32 --edits vgg19", "which does not fit this VGG"),
        ("--run nowhere --edits vgg19", "--edits: not allowed with argument --run"),
    ],
)
def test_user_errors_are_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("dynpool: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.parametrize("text", ["0", "32x32", "1,2,3,4,5", "", "3,-1,4", "a", "1:"])
def test_bad_input_sizes(text, capsys):
    assert main(["analyze", "vgg11", "--input-size", text]) == 2
    assert "is not an input size; allowed: 32, 32,64, 3,32,64 or CHANNELS:SIZES" in capsys.readouterr().err


def test_json_is_the_report_and_quiet_leaves_the_files_out(tmp_path, capsys, no_graphviz):
    command = ["analyze", "torchvision:vgg11", "--input-size", "32", "--out", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    found = document(capsys)
    assert set(found.pop("files")) == FILES
    assert found.pop("folder") == str(tmp_path)
    assert found == json.loads((tmp_path / "report.json").read_text())
    assert main([*command, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert found["verdict"] in said
    assert "written to" not in said
