"""dynpool train prints epochs and figures, or one JSON document; see test_commands.py for the rest."""

import csv

from dynpool.cli import main
from tests.dynpool.cli.printed import document
from tests.dynpool.cli.tiny import TINY


def test_json_is_the_final_figures_and_quiet_prints_them_alone(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = ["train", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run")]
    assert main([*command, "--json"]) == 0
    found = document(capsys)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    assert found["figures"]["test_accuracy"] == float(last["test_accuracy"])
    assert found["folder"] == str(tmp_path / "run")
    assert main([*command, "--overwrite", "--quiet"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("tiny  accuracy ")


def test_one_document_and_lines_exclude_each_other(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert main(["train", str(tmp_path / "tiny.yaml"), "--json", "--json-lines"]) == 2
    assert "--json and --json-lines cannot be given together" in capsys.readouterr().err


def test_help_has_the_options_of_all_commands(capsys):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--epochs", "--json", "--json-lines", "--quiet", "--verbose"))
