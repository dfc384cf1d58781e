"""dynpool train: one run of a configuration."""

import argparse

from dynpool.training import StoppedError, TrainingError, interruptible

from .configured import config_path, configured_parser, ended
from .output import Output

__all__ = ["parser", "train"]


def parser() -> argparse.ArgumentParser:
    """The parser of the command's options, without CONFIG."""
    from dynpool.training import RunConfig

    return configured_parser(RunConfig, "train")


def train(arguments: list[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        TrainingError: for errors that the user can correct.
    """
    from dynpool.training import ConfigError, RunConfig, load_config

    if {"-h", "--help"} & set(arguments):
        parser().print_help()
        return 0
    config, flags = load_config(RunConfig, config_path(arguments, "train"), arguments, command="train")
    if flags["json_lines"] and output.json:
        raise ConfigError("--json and --json-lines cannot be given together: one document at the end, or lines")
    from dynpool.training import RunFolder, final_line, reporting, tell, train

    folder = RunFolder(config.folder)
    try:
        with interruptible(), reporting(json_lines=flags["json_lines"], quiet=output.quiet) as reporter:
            figures = train(config, resume=flags["resume"], overwrite=flags["overwrite"], reporter=reporter)
    except (KeyboardInterrupt, StoppedError) as error:
        saved = "the finished epochs are saved" if folder.started else "nothing had been trained yet"
        return ended(error, saved, "train", folder.config, folder.path)
    except TrainingError as error:
        if flags["json_lines"]:
            tell("error", message=str(error))
        raise
    if figures and flags["json_lines"]:
        tell("end", figures=dict(figures), folder=str(folder.path))
    elif figures:
        output.text(final_line(figures, str(folder.path)))
        output.document(lambda: {"figures": dict(figures), "folder": str(folder.path)})
    return 0
