"""The options of dynpool inspect: what is wrong is named, what is left out has its default."""

import pytest

from dynpool.cli.inspect_arguments import parser
from dynpool.training.errors import ConfigError


def test_defaults():
    options = parser().read(["a", "b"])
    assert [path.name for path in options.runs] == ["a", "b"]
    assert (options.fine_tune, options.eigenvalues, options.hessian_images, options.workers) == (1, 90, 256, None)
    assert options.amounts == [0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--amounts", "1"], "--amounts: '1'; allowed: a number above 0 and below 1"),
        (["--fine-tune", "-1"], "--fine-tune"),
        (["--fine-tune", "x"], "'x'; allowed: a whole number, 0 or more"),
        (["--eigenvalues", "0"], "--eigenvalues: '0'; allowed: a whole number above 0"),
        (["--tolerance", "0"], "--tolerance: '0'"),
        (["--input-size", "x"], "'x' is not an input size"),
        (["--normalise", "cifar"], "--normalise"),
        (["--prunning"], "unknown option '--prunning'; did you mean '--pruning'?"),
    ],
)
def test_wrong_values_are_named(words, said):
    with pytest.raises(ConfigError) as error:
        parser().read(["run", *words])
    assert said in str(error.value)
