"""What every command prints, and where: figures as text or as one JSON document, notices, progress, details."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from dynpool.training import ConfigError

__all__ = ["Output", "add_output_options"]

_FLAGS = {"--json": "json", "--quiet": "quiet", "-q": "quiet", "--verbose": "verbose", "-v": "verbose"}


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of all commands, for its help and for completion: `Output.taken` reads them."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the figures as one JSON document, all else to stderr")
    group.add_argument("-q", "--quiet", action="store_true", help="print figures, warnings and errors only")
    group.add_argument(
        "-v", "--verbose", action="store_true",
        help="also print versions, times, where a warning arose, and the traceback of an error",
    )  # fmt: skip


@dataclass
class Output:
    """How a command prints.

    A command gives its figures to `text` and to `document`, which print them without and with --json; it says what
    else happened with `notice`. Progress is shown unless `quiet`.

    Attributes:
        json: whether stdout gets one JSON document and nothing else.
        quiet: whether notices and progress are left out.
        verbose: whether details are printed.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    _documents: list[Mapping[str, Any]] = field(default_factory=list)

    @classmethod
    def taken(cls, arguments: list[str]) -> Output:
        """The output that options in `arguments` ask for, wherever they stand; they are removed from the list.

        Raises:
            ConfigError: for both --quiet and --verbose.
        """
        count = sum(1 for _ in itertools.takewhile(lambda word: word != "--", arguments))
        found = {_FLAGS[word] for word in arguments[:count] if word in _FLAGS}
        arguments[:count] = [word for word in arguments[:count] if word not in _FLAGS]
        if {"quiet", "verbose"} <= found:
            raise ConfigError("--quiet and --verbose cannot be given together")
        return cls(json="json" in found, quiet="quiet" in found, verbose="verbose" in found)

    def text(self, text: object = "") -> None:
        """Print figures as text, unless JSON is wanted."""
        if not self.json:
            print(text, flush=True)

    def notice(self, text: str) -> None:
        """Print what happened, unless quiet; with --json on stderr."""
        if not self.quiet:
            print(text, flush=True)

    def document(self, figures: Callable[[], Mapping[str, Any]]) -> None:
        """Keep the figures for the JSON document, if it is wanted.

        Args:
            figures: gives them as plain containers, strings and numbers.
        """
        if self.json:
            self._documents.append(figures())

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A context in which a command runs: warnings and logs in one line each; with --json stdout is for JSON alone.

        What is printed inside, by child processes too, goes to stderr then. The document follows at the end; there is
        none if the command raises an error.
        """
        with self._details(), warnings.catch_warnings():
            warnings.showwarning = self._say_warning
            if not self.json:
                yield
                return
            with _stdout_to_stderr():
                yield
        if self._documents:
            from dynpool.analysis.common.json_text import strict_json

            (document,) = self._documents
            print(strict_json(document), end="")

    @contextmanager
    def _details(self) -> Iterator[None]:
        logging.basicConfig(level=logging.WARNING, format="dynpool: %(message)s")
        logger = logging.getLogger("dynpool")
        before = logger.level
        logger.setLevel(logging.DEBUG if self.verbose else before)
        try:
            yield
        finally:
            logger.setLevel(before)

    def _say_warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: object, **more: object
    ) -> None:
        """Print a warning in one line; where in the code it arose only if verbose."""
        where = f" ({category.__name__}, {filename}:{lineno})" if self.verbose else ""
        print(f"dynpool: {' '.join(str(message).split())}{where}", file=sys.stderr)


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """A context in which what is written to stdout goes to stderr, also by other libraries and child processes."""
    out: TextIO = sys.stdout
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if sys.__stdout__ is not None and sys.__stderr__ is not None:  # else the program began without them
            out.flush()
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            stack.callback(out.flush)  # for those that hold it
            os.dup2(2, 1)
        yield
