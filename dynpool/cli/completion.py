"""dynpool completion: a script that completes the commands, their options and files in a shell."""

import argparse
from collections.abc import Sequence
from typing import Any

from dynpool.common.extras import optional

from .arguments import Parser, place
from .command_modules import COMMANDS, command_parser
from .output import Output

__all__ = ["completion", "parser"]

SHELLS = ("bash", "zsh", "tcsh")
FOLDERS = ("FOLDER", "RUN")  # the metavars of options that are folders


def parser() -> Parser:
    """The parser of the command's options."""
    found = Parser(
        "completion",
        "Print a script that completes the commands, their options and files in a shell. For bash: "
        "dynpool completion bash > ~/.local/share/bash-completion/completions/dynpool",
    )
    found.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh")
    return found


def completion(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        ConfigError: for errors that the user can correct.
        ModuleNotFoundError: if shtab is not installed, or what the options of train and compare are read with.
    """
    options = parser().read(arguments)
    with optional():
        import shtab
    script = shtab.complete(_all_commands(shtab), options.shell)
    output.text(script)
    output.document(lambda: {"shell": options.shell, "script": script})
    return 0


def _all_commands(shtab: Any) -> argparse.ArgumentParser:
    """One parser of all commands, whose options of files and folders say so."""
    root = argparse.ArgumentParser("dynpool", allow_abbrev=False)
    root.add_argument("--version", action="store_true", help="print the version")
    commands = root.add_subparsers()
    for name in COMMANDS:
        own = command_parser(name)
        if name in ("train", "compare"):
            own.add_argument("config", metavar="CONFIG", type=place)  # which they read themselves
            for action in own._actions:  # the help of keys is no format, as argparse would have it
                action.help = (action.help or "").replace("%", "%%")
        said = (own.description or "").partition(". ")[0]
        command = commands.add_parser(name, parents=[own], add_help=False, help=said)
        for action in command._actions:
            if action.type is place:
                action.complete = shtab.DIRECTORY if action.metavar in FOLDERS else shtab.FILE  # type: ignore[attr-defined]
    return root
