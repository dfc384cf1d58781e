"""The command line: dynpool train | compare | report | analyze | inspect | sensitivity | coverage | refine | doctor."""

import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version

import dynpool
from dynpool.common.extras import EXTRAS, optional
from dynpool.common.names import nearest
from dynpool.training import INTERRUPTED, ConfigError, TrainingError

from .command_modules import COMMANDS, find_command
from .output import Output

__all__ = ["run"]

USAGE = """usage: dynpool COMMAND ...

  train CONFIG [--resume | --overwrite] [--KEY VALUE ...]    train one run
  compare CONFIG [--resume | --overwrite] [--KEY VALUE ...]  train every method with every seed, and report
  compare CONFIG --dry-run [--KEY VALUE ...]                 what that would take: hours, memory, checkpoints
  report RUN... [--out DIR]                                  report of runs or of a comparison
  analyze MODEL --input-size 32 [--checkpoint FILE]          receptive fields of a model: table, verdict, plots
  analyze --run FOLDER                                       the same for a run's learned model, with I_min per epoch
  inspect RUN... [--pruning --hessian --cka]                 which layers of trained networks work: probes, saturation
  inspect --checkpoint FILE MODEL DATA_FOLDER                the same for a model by name and a folder of images
  sensitivity --run FOLDER [--split test]                    the loss at a few pixels more or less of each learned size
  coverage [--models PATTERN] [--out CSV]                    try conversion on the models of timm and torchvision
  refine MODEL --input-size 32 [--out plan.json]             edits of a model that bring I_min below the input size
  doctor                                                     versions, devices, what is missing, a test of the operator
  completion bash|zsh|tcsh                                   a script that completes commands and options in a shell

Every command takes --json (figures as one JSON document on stdout), --quiet and --verbose. dynpool COMMAND --help lists
the options of a command, dynpool --version prints the version."""

USER_ERROR = 2

OF_MODELS = ("train", "compare", "analyze", "inspect", "sensitivity", "refine")  # which may be modules of the user's

logger = logging.getLogger(__name__)

# Commands import their modules after parsing arguments, so that help and errors are fast.


def run(argv: Sequence[str] | None) -> int:
    """Run a command, as `dynpool.cli.main` says; gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    output = Output()
    try:
        output = Output.taken(arguments)
        with optional():
            code = _run(arguments, output)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output is gone; training has been saved
        _discard_output()
        return USER_ERROR
    except (TrainingError, OSError) as error:
        if isinstance(error, OSError):
            _discard_output()  # stdout itself may be unwritable
        return _said(error, output)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        return _said(error, output)
    except KeyboardInterrupt as error:
        print(f"dynpool: interrupted{f'; {error}' if str(error) else ''}", file=sys.stderr)
        return INTERRUPTED
    return code


def _run(arguments: list[str], output: Output) -> int:
    command = arguments.pop(0) if arguments else "--help"
    if command in ("-h", "--help"):
        print(USAGE)
    elif command == "--version":
        print(f"dynpool {dynpool.__version__}")
    elif command in COMMANDS:
        if command in OF_MODELS and "" not in sys.path:  # an installed program does not search the working directory
            sys.path.insert(0, "")
        start = time.perf_counter()
        with output.opened():
            logger.info(
                "version %s, Python %s, PyTorch %s", dynpool.__version__, platform.python_version(), version("torch")
            )
            try:
                return find_command(command)(arguments, output)
            finally:
                logger.info("%s took %.1f s", command, time.perf_counter() - start)
    else:
        raise ConfigError(f"unknown command {command!r}{nearest(command, [*COMMANDS, '--help', '--version'])}")
    return 0


def _said(error: Exception, output: Output) -> int:
    """Print an error that the user can correct in one line, below its traceback if that is wanted."""
    if output.verbose:
        traceback.print_exception(error)
    print(f"dynpool: error: {error}", file=sys.stderr)
    return USER_ERROR


def _discard_output() -> None:
    """Discard buffered output: Python would try to write it again on exit and print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
