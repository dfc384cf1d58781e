"""dynpool report prints the tables of runs, or one JSON document; see test_commands.py for the rest."""

from dynpool.analysis.comparison import compare_runs
from dynpool.cli import main
from dynpool.training.loop import train
from tests.dynpool.cli.printed import document
from tests.dynpool.training.runs import tiny_run


def test_text_json_and_quiet(tmp_path, capsys):
    run = tmp_path / "run"
    train(tiny_run(run, "--epochs=1"))
    found = compare_runs([run])
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{found}\nreport: {run / 'report.html'}\n"
    assert main(["report", str(run), "-q"]) == 0
    assert capsys.readouterr().out == f"{found}\n"
    assert main(["report", str(run), "--json"]) == 0
    printed = document(capsys)
    assert printed["headline"] == found.headline
    assert printed["runs"][0]["gmacs"] == found.rows[0].gmacs
    assert printed["report"] == str(run / "report.html")
