"""Sizes on the command line."""

import argparse

import pytest

from dynpool.cli.arguments import input_size


@pytest.mark.parametrize(
    ("text", "size"), [("32", (3, 32, 32)), ("32,64", (3, 32, 64)), ("1,32,64", (1, 32, 64)), ("032", (3, 32, 32))]
)
def test_one_number_is_a_square_and_three_have_the_channels_first(text: str, size: tuple[int, ...]) -> None:
    assert input_size(text) == size


def test_channels_and_any_number_of_extents() -> None:
    assert input_size("1:16000") == (1, 16000)
    assert input_size("2:8,16,24") == (2, 8, 16, 24)
    assert input_size("3,8,16,24") == (3, 8, 16, 24)


@pytest.mark.parametrize("text", ["", "0", "3,0,32", "32x32", "-1", "3,", "1,2,3,4,5", ":32", "0.5"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not an input size; allowed: 32, 32,64"):
        input_size(text)
