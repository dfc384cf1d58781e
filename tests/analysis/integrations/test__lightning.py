"""The hooks shared by both packages of Lightning: steps are the trainer's, and its main process writes alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from dynpool.analysis.integrations._lightning import LightningHooks

SIZE = (3, 16, 12)


class Logger:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, named: dict[str, float], step: int) -> None:
        self.seen.append((named, step))


def trainer(step: int, *loggers: Logger, main: bool = True) -> Any:
    return SimpleNamespace(global_step=step, is_global_zero=main, loggers=loggers)


def test_all_loggers_get_the_line_of_each_step_that_is_due(network, tmp_path, read_log):
    hooks, one, two = LightningHooks(SIZE, tmp_path / "log", every=2), Logger(), Logger()
    hooks.on_train_start(trainer(0, one, two), network)
    for step in (1, 2, 3):
        hooks.on_train_batch_end(trainer(step, one, two), network, None, None, 0)
    log = read_log(tmp_path / "log")
    assert [line["step"] for line in log] == [0, 2]
    assert one.seen == two.seen
    assert [(step, named["i_min/height"]) for named, step in one.seen] == [(0, 8.0), (2, 8.0)]


def test_by_epoch_the_end_of_an_epoch_is_logged(network, tmp_path, read_log):
    hooks, logger = LightningHooks(SIZE, tmp_path / "log"), Logger()
    hooks.on_train_start(trainer(0, logger), network)
    hooks.on_train_batch_end(trainer(1, logger), network, None, None, 0)
    hooks.on_train_epoch_end(trainer(1, logger), network)
    assert [line["step"] for line in read_log(tmp_path / "log")] == [0, 1]


def test_other_processes_write_nothing_and_keep_alphas_in_bounds(network, tmp_path):
    hooks, logger = LightningHooks(SIZE, tmp_path / "log", every=1, constrain=True), Logger()
    hooks.on_train_start(trainer(0, logger, main=False), network)
    network[2].alpha.data.fill_(1e9)
    hooks.on_train_batch_end(trainer(1, logger, main=False), network, None, None, 0)
    assert not (tmp_path / "log").exists()
    assert logger.seen == []
    assert network[2].alpha.tolist() == pytest.approx([2.2, 2.2])
