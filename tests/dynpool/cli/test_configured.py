"""What train and compare have in common: the configuration file, and how to continue after an interruption."""

from pathlib import Path

import pytest

from dynpool.cli.configured import config_path, ended
from dynpool.training.errors import ConfigError, StoppedError


def test_the_file_is_taken_from_the_arguments():
    words = ["tiny.yaml", "--epochs", "3"]
    assert config_path(words, "train") == Path("tiny.yaml")
    assert words == ["--epochs", "3"]
    with pytest.raises(ConfigError, match="dynpool train needs a configuration file"):
        config_path(words, "train")


def test_how_to_continue_is_said_if_there_is_something_to_continue(tmp_path, capsys):
    file = tmp_path / "config.yaml"
    assert ended(KeyboardInterrupt(), "all is saved", "train", file, tmp_path) == 130
    assert capsys.readouterr().err == "dynpool: interrupted; all is saved\n"
    file.touch()
    assert ended(StoppedError("stopped by SIGTERM"), "all is saved", "train", file, tmp_path) == 75
    said = f"dynpool: stopped by SIGTERM; continue with: dynpool train {file} --out {tmp_path} --resume\n"
    assert capsys.readouterr().err == said
