"""Every command prints figures as text or as one JSON document, and says all else beside them."""

import json
import logging
import os
import subprocess
import sys
import warnings

import pytest

from dynpool.cli import main
from dynpool.cli.output import Output
from dynpool.training.errors import ConfigError


def test_the_options_are_taken_wherever_they_stand_but_not_behind_two_dashes():
    words = ["--json", "analyze", "-v", "net", "--", "--quiet"]
    output = Output.taken(words)
    assert words == ["analyze", "net", "--", "--quiet"]
    assert (output.json, output.quiet, output.verbose) == (True, False, True)
    with pytest.raises(ConfigError, match="--quiet and --verbose cannot be given together"):
        Output.taken(["-q", "-v"])


@pytest.mark.parametrize("how", ["text", "quiet", "json", "json quiet"])
def test_figures_notices_and_the_document_go_where_they_belong(how, capsys):
    output = Output(json="json" in how, quiet="quiet" in how)
    with output.opened():
        print("progress of a library")
        output.text("I_min 9")
        output.notice("written to net")
        output.document(lambda: {"i_min": float("inf")})
    said = capsys.readouterr()
    if output.json:
        assert json.loads(said.out) == {"i_min": "inf"}
        assert ("written to net" in said.err, "progress of a library" in said.err) == (not output.quiet, True)
    else:
        assert "I_min 9" in said.out
        assert ("written to net" in said.out) is not output.quiet
        assert "inf" not in said.out


def test_with_json_what_a_child_process_prints_goes_to_stderr(capfd):
    with Output(json=True).opened():
        subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
        os.write(1, b"written to the descriptor\n")
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == "a child\nwritten to the descriptor\n"
    print("afterwards")
    assert capfd.readouterr().out == "afterwards\n"


def test_there_is_no_document_after_an_error(capsys):
    def mistaken():
        with output.opened():
            output.document(lambda: {"i_min": 1})
            raise ConfigError("a mistake")

    output = Output(json=True)
    with pytest.raises(ConfigError, match="a mistake"):
        mistaken()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", [False, True])
def test_a_warning_is_one_line_and_only_verbose_says_where_it_arose(verbose, capsys):
    with Output(verbose=verbose).opened():
        warnings.warn("the image\nis small", stacklevel=1)
        assert logging.getLogger("dynpool").isEnabledFor(logging.INFO) is verbose
    said = capsys.readouterr().err
    assert said.startswith("dynpool: the image is small")
    assert ("test_output.py" in said) is verbose
    assert said.count("\n") == 1


def test_a_mistake_has_a_traceback_only_if_verbose(capsys):
    assert main(["report", "nowhere"]) == 2
    assert capsys.readouterr().err == "dynpool: error: nowhere: no such run folder\n"
    assert main(["report", "nowhere", "--verbose"]) == 2
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert said.endswith("dynpool: error: nowhere: no such run folder\n")
