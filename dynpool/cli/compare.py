"""dynpool compare: every method with every seed of a configuration, and the report; or what that would take."""

import argparse

from dynpool.training import ConfigError, StoppedError, interruptible

from .configured import config_path, configured_parser, ended
from .output import Output

__all__ = ["compare", "parser"]

DRY = "--dry-run"


def parser() -> argparse.ArgumentParser:
    """The parser of the command's options, without CONFIG."""
    from dynpool.training import ComparisonConfig

    found = configured_parser(ComparisonConfig, "compare")
    found.add_argument(
        DRY, action="store_true", help="measure a few steps of each method and print what all would take"
    )
    return found


def compare(arguments: list[str], output: Output) -> int:
    """Run the command and return its exit code.

    Raises:
        TrainingError: for errors that the user can correct.
    """
    from dynpool.training import ComparisonConfig, load_config

    if {"-h", "--help"} & set(arguments):
        parser().print_help()
        return 0
    dry, arguments = DRY in arguments, [word for word in arguments if word != DRY]
    config, flags = load_config(ComparisonConfig, config_path(arguments, "compare"), arguments, command="compare")
    if dry:
        if flags["resume"] or flags["overwrite"]:
            raise ConfigError(f"{DRY} trains nothing: it cannot be given with --resume or --overwrite")
        from dynpool.training import plan_comparison

        plan = plan_comparison(config, progress=lambda group: output.notice(f"measuring {group}"))
        output.text(plan)
        output.document(plan.to_dict)
        return 0
    from dynpool.training import compare

    try:
        with interruptible():
            found, report = compare(config, resume=flags["resume"], overwrite=flags["overwrite"], quiet=output.quiet)
    except (KeyboardInterrupt, StoppedError) as error:
        saved = "the finished epochs of all runs are saved"
        return ended(error, saved, "compare", config.folder / "comparison.yaml", config.folder)
    output.text(found)
    output.notice(f"report: {report}")
    output.document(lambda: {**found.to_dict(), "report": str(report)})
    return 0
