import shutil
import subprocess

import pytest

from benchmarks import checkout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_results_are_no_change_of_the_code(tmp_path, monkeypatch):
    """Rows are written while a benchmark runs, and the later ones name the commit as well."""

    def git(*command):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True, capture_output=True)

    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    code, rows = tmp_path / "benchmarks" / "checkout.py", tmp_path / "benchmarks" / "results" / "rows.csv"
    for path in (code, rows):
        path.write_text("a\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    monkeypatch.setattr(checkout, "__file__", str(code))
    clean = checkout.commit()
    assert clean.isalnum()
    rows.write_text("b\n")
    assert checkout.commit() == clean
    code.write_text("b\n")
    assert checkout.commit() == f"{clean}-dirty"


def test_without_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "checkout.py"))
    assert checkout.commit() == ""
