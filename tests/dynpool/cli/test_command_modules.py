"""Every command has a module with its function and its parser, and is in the usage."""

import pytest

from dynpool.cli.command_modules import COMMANDS, command_parser, find_command
from dynpool.cli.commands import USAGE


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_function_and_a_parser_with_the_options_of_all(name):
    assert callable(find_command(name))
    parser = command_parser(name)
    assert parser.prog == f"dynpool {name}"
    assert {"--json", "--quiet", "-q", "--verbose", "-v"} <= set(parser._option_string_actions)
    assert f"\n  {name} " in USAGE
