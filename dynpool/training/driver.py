"""The driver of a comparison: it starts runs while there are free workers, and notes how each has ended."""

from .errors import TrainingError
from .executors.events import Ended, Event, Executor, Failed, Tell
from .matching import Queue, with_budget

__all__ = ["train_all"]


def train_all(waiting: Queue, executor: Executor, tell: Tell, *, resume: bool) -> dict[str, str]:
    """Train all runs; gives the reasons of those that failed by their names.

    Args:
        waiting: the runs, of which some may wait until another has ended.
        executor: trains them; it is closed in the end, whatever happens.
        tell: receives the events of all runs.
        resume: runs that match the cost of another keep the budget that they were started with.
    """
    failed: dict[str, str] = {}
    running: set[str] = set()

    def note(event: Event) -> None:
        tell(event)
        if isinstance(event, Ended):
            running.discard(event.run)
            waiting.ended(event.run)
        elif isinstance(event, Failed):
            running.discard(event.run)
            lost = waiting.failed(event.run)
            failed.update({event.run: event.reason} | lost)
            for name, reason in lost.items():
                tell(Failed(name, reason))

    try:
        while waiting or running:
            while len(running) < executor.workers and (found := waiting.take()):
                (run, _), matched = found
                try:
                    run = with_budget(run, matched, resume=resume)
                except TrainingError as error:
                    note(Failed(run.name, str(error)))
                    continue
                running.add(run.name)
                executor.start(run)
            if running:
                executor.wait(note)
    finally:
        executor.close()
    return failed
