"""A reporter of events tells each start and epoch, and images at most twice a second."""

import time

from dynpool.training.executors.events import Advanced, EpochEnded, Event, EventReporter, Started
from tests.dynpool.training.test_progress import ROW


def test_images_are_told_together(monkeypatch):
    now = [0.0]
    told: list[Event] = []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter = EventReporter("a", told.append)
    reporter.start("a", 4, 1, 100)
    for now[0] in (0.2, 0.4, 0.6, 0.8):
        reporter.advance(10)
    reporter.epoch(ROW)
    now[0] = 2.0
    reporter.advance(5)
    assert told == [Started("a", 4, 1, 100), Advanced("a", 30), EpochEnded("a", ROW), Advanced("a", 5)]
