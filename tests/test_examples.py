"""The examples run as they are, with few steps: they learn, their sizes move, and what they write can be used."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that runs an example in an empty folder and returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with torch.random.fork_rng():
            runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def accuracy(said: str) -> float:
    (found,) = re.findall(r"test accuracy ([\d.]+)", said)
    return float(found)


def test_training_loop(run):
    said = run("training_loop.py", "2")
    before, after = re.findall(r"(?:before|epoch 2): (\{.*\}) ([\d.]+) GMACs", said)
    assert before[0] != after[0]
    assert float(after[1]) < float(before[1])
    assert accuracy(said) > 0.5
    assert not [name for name in torch.load("digits.pt") if "alpha" in name]


def test_timm_model(run):
    said = run("timm_model.py", "test_resnet", "12")
    assert " converted, " in said
    assert 0.1 < float(re.findall(r"([\d.]+) of the designed cost", said)[0]) != 1.0
    assert accuracy(said) > 0.2


def test_lightning_module(run):
    said = run("lightning_module.py", "2")
    lines = [json.loads(line) for line in Path("i_min.jsonl").read_text().splitlines()]
    assert len(lines) == 3  # before training, and at the end of each epoch
    assert lines[0]["sizes"] != lines[-1]["sizes"]
    assert re.search(r"accuracy\W+0\.[2-9]", said)
    assert "strided, 1 resized" in said


def test_transformers_trainer(run):
    said = run("transformers_trainer.py", "12")
    assert accuracy(said) > 0.2
    assert len(Path("i_min.jsonl").read_text().splitlines()) > 1
    assert "resnet.embedder.pooler" in said


def test_onnx_runtime(run):
    said = run("onnx_runtime.py", "small.onnx")
    (difference,) = re.findall(r"small.onnx: .* at most ([\d.e+-]+) from PyTorch", said)
    assert float(difference) < 1e-3
    assert accuracy(said) > 0.5
    assert Path("small.onnx").stat().st_size > 1000


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_says_how_to_run_it_and_is_on_its_page(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    assert f"\nUsage: python examples/{path.name}" in text
    assert f"examples/{path.name}" in (ROOT / "docs" / "examples.md").read_text()
