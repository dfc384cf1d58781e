"""dynpool coverage prints a line per model and a summary, or one JSON document of all rows."""

from dynpool.cli import main
from tests.dynpool.cli.printed import document


def test_text_json_and_quiet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["coverage", "--models", "torchvision:vgg11", "--input-size", "32"]
    assert main(command) == 0
    row, *summary = capsys.readouterr().out.splitlines()
    assert row.startswith("torchvision:vgg11  runs  5 converted")
    assert summary[0] == "1 model with a convolution: 1 runs"
    assert main([*command, "--quiet", "--out", "other.csv"]) == 0
    assert capsys.readouterr().out.splitlines() == summary
    assert main([*command, "--json"]) == 0
    found = document(capsys)
    assert found["summary"].splitlines() == summary
    assert [(r["model"], r["status"], r["converted"]) for r in found["rows"]] == [("torchvision:vgg11", "runs", 5)]
