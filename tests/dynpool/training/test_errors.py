"""Errors that say what to do; those of a configuration know the key."""

import errno
import pickle

import pytest

from dynpool.training.config import RunConfig
from dynpool.training.errors import ConfigError, DiskFullError, TrainingError, UnwritableError, writing


def test_an_error_of_a_configuration_knows_its_key() -> None:
    with pytest.raises(ConfigError, match="epochs is 0; allowed: a whole number, 1 or more") as caught:
        RunConfig(epochs=0)
    assert caught.value.key == "epochs"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.key) == (str(caught.value), "epochs")
    assert ConfigError("no key").key == ""


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EACCES, UnwritableError)]
)
def test_a_failure_to_write_names_the_file_and_what_to_do(number: int, kind: type[TrainingError], tmp_path) -> None:
    path = tmp_path / "file"
    with pytest.raises(kind, match=r"cannot write .*file: .*(--resume|--out)"), writing(path):
        raise OSError(number, "reason")


def test_a_folder_in_the_place_of_a_file_is_named_as_such(tmp_path) -> None:
    with pytest.raises(UnwritableError, match="it is a folder, not a file; remove it"), writing(tmp_path):
        tmp_path.write_text("x")
