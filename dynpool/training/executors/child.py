"""python -m dynpool.training.executors.child FD: trains the run that stdin describes, with events to a pipe."""

import os
import pickle
import sys
from multiprocessing.connection import Connection

from dynpool.training.interrupts import leave_at_once

__all__ = ["main"]


def main(descriptor: int) -> int:
    """Train the run that stdin describes, with events to a pipe; gives the exit code."""
    from dynpool.training.executors.outcome import outcome_of, telling_warnings

    os.set_inheritable(descriptor, False)  # programs that the run starts do not hold the pipe open
    events = Connection(descriptor, readable=False)
    run, resume, overwrite = pickle.load(sys.stdin.buffer)  # of the comparison
    try:
        with telling_warnings(run.name, events.send):
            outcome = outcome_of(run, events.send, resume=resume, overwrite=overwrite)
        events.send(outcome)
    except BrokenPipeError:  # the comparison is gone; finished epochs are saved
        return 2
    return 0


if __name__ == "__main__":
    leave_at_once()
    sys.exit(main(int(sys.argv[1])))
