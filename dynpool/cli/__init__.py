"""The command line: dynpool train | compare | report | analyze | inspect | sensitivity | coverage | refine | doctor."""

from collections.abc import Sequence

from dynpool.training import leave_at_once

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code.

    0: done. 1: `refine` did not reach I_min < I_res, or the self-test of `doctor` failed. 2: something the user can
    correct, said in one line on stderr. 75: stopped by SIGTERM or SIGHUP; a run is continued with --resume. 130:
    interrupted by Ctrl-C.

    Args:
        argv: the command and its arguments. Default: those of the program, which these signals then end at once while
            modules are still being imported.
    """
    if argv is None:
        leave_at_once()
    from .commands import run

    return run(argv)
