"""dynpool compare prints epochs, tables and the report's path, or JSON; see test_commands.py for the rest."""

from dynpool.cli import main
from tests.dynpool.cli.printed import document
from tests.dynpool.cli.tiny import TINY

CONFIG = TINY + "methods: [human, dynopool]\nseeds: [0]\n"


def test_json_is_the_comparison_and_quiet_prints_the_tables_alone(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    command = ["compare", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "both"), "--workers", "1"]
    assert main([*command, "--json"]) == 0
    found = document(capsys)
    assert [row["group"] for row in found["methods"]] == ["human", "dynopool"]
    assert found["report"] == str(tmp_path / "both" / "report.html")
    assert main([*command, "--overwrite", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert found["headline"].partition(" is ")[0] in said
    assert "epoch 1/1" not in said
    assert "report:" not in said


def test_help_has_the_options_of_all_commands(capsys):
    assert main(["compare", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--methods", "--json", "--quiet", "--verbose"))
    assert "--json-lines" not in said


def test_a_dry_run_prints_what_the_comparison_would_take(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    command = ["compare", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out"), "--seeds", "[0,1]", "--dry-run"]
    assert main([*command, "--json"]) == 0
    found = document(capsys)
    assert (found["runs"], [point["group"] for point in found["points"]]) == (4, ["human", "dynopool"])
    assert found["hours"] > 0
    assert not (tmp_path / "out").exists()
