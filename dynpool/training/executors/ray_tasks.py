"""Runs trained as tasks of a Ray cluster, one each, in a folder that all nodes share or with a copy at a URL.

A task that is lost with its node is started again on another one and continues from its last checkpoint. Events come
through an actor on the node of the comparison, which is lost only with it.
"""

import asyncio
import contextlib
import dataclasses
import io
import os
import queue
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynpool.common.extras import optional

from ..checkpoint import stopped_path
from ..config import ComparisonConfig, RunConfig
from ..errors import ConfigError, TrainingError
from ..run_folder import RunFolder
from .events import Ended, EpochEnded, Event, Failed, Noted, Tell
from .mirror import Mirror
from .outcome import outcome_of, telling_warnings

__all__ = ["RayTasks"]

GRACE = 20.0  # seconds for runs to finish their step and save it
PATIENCE = 90.0  # seconds for the lock of a lost node on a run folder to be released
ANSWER = 10.0  # seconds for the cluster to accept a connection
LOOK = 0.5  # seconds between two looks at whether a signal has come


class Post:
    """The actor that collects events, and counts how often each run was begun."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._begun: Counter[str] = Counter()

    async def begin(self, run: str) -> int:
        """Note that a run begins; gives how often it began before."""
        self._begun[run] += 1
        return self._begun[run] - 1

    async def put(self, event: Event) -> None:
        """Keep an event until it is taken."""
        await self._events.put(event)

    async def take(self) -> list[Event]:
        """All events that have not been taken; waits until there is one."""
        found = [await self._events.get()]
        while not self._events.empty():
            found.append(self._events.get_nowait())
        return found


class _Printed(io.TextIOBase):
    """A text file whose lines are told as those that a run has printed."""

    def __init__(self, run: str, tell: Tell) -> None:
        self._run, self._tell, self._begun = run, tell, ""

    def write(self, text: str) -> int:
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._tell(Noted(self._run, line))
        return len(text)


def train_task(run: RunConfig, post: Any, place: str, storage: str | None, *, resume: bool, overwrite: bool) -> None:
    """The task: a run, whose events, the last included, go to `post`. One that was lost is resumed."""
    import ray

    def tell(event: Event) -> None:
        post.put.remote(event)

    if Path(place).is_dir() and place not in sys.path:  # as the comparison finds the user's own models
        sys.path.insert(0, place)
    if ray.get(post.begin.remote(run.name)):
        resume, overwrite = True, False
    flags = {"resume": resume, "overwrite": overwrite}
    with telling_warnings(run.name, tell), contextlib.redirect_stdout(_Printed(run.name, tell)):
        if storage is None:
            outcome = outcome_of(run, tell, patience=PATIENCE, **flags)
        else:
            outcome = _stored_outcome(run, tell, Mirror(storage), **flags)
    ray.get(post.put.remote(outcome))  # the task has ended when the event is there


def _stored_outcome(run: RunConfig, tell: Tell, mirror: Mirror, *, resume: bool, overwrite: bool) -> Event:
    """Train a run in a folder of this node, copied to the storage after each checkpoint."""
    with tempfile.TemporaryDirectory(prefix="dynpool-") as scratch:
        folder = Path(scratch) / run.name
        saved = stopped_path(folder)
        copied = 0

        def copy(event: Event) -> None:
            nonlocal copied
            written = saved.stat().st_mtime_ns if saved.exists() else copied
            if isinstance(event, EpochEnded) or written != copied:
                try:
                    mirror.upload(folder)
                except OSError as error:  # tried again after the next checkpoint
                    tell(Noted(run.name, f"cannot be copied to the storage: {error}", warning=True))
                copied = written
            tell(event)

        try:
            mirror.download(folder)
            local = dataclasses.replace(run, out=str(folder))
            outcome = outcome_of(local, copy, resume=resume, overwrite=overwrite)
            mirror.upload(folder)
        except OSError as error:
            return Failed(run.name, f"the storage cannot be used: {error}")
    return outcome


class RayTasks:
    """Trains runs as tasks of Ray, as many at a time as the cluster has room for.

    Args:
        config: the comparison: address of the cluster, resources of a run, retries.
        workers: runs at a time, at most.
        names: of all runs that will be started, whose copies must not be there yet.
        resume, overwrite: see `dynpool.training.train`; a run that was lost is resumed in any case.

    Raises:
        ConfigError: if there is no cluster at the address, or the storage holds a run that is to begin.
        ModuleNotFoundError: if Ray is not installed; the message says how to install it.
    """

    def __init__(
        self, config: ComparisonConfig, workers: int, names: Sequence[str] = (), *, resume: bool, overwrite: bool
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with optional():
            import ray
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
        self._ray, self.workers = ray, workers
        self._storage = config.storage
        self._folders: dict[str, Path] = {}
        if self._storage is not None:
            Mirror(self._storage)  # raises if it cannot be one
            if not (resume or overwrite):
                self._check_storage(names)
        self._own = not ray.is_initialized()
        if self._own:
            _connect(ray, config.address)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._post = ray.remote(num_cpus=0)(Post).options(scheduling_strategy=here).remote()
        gpus = config.gpus_per_run
        if gpus is None:
            gpus = float(config.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0)
        self._task = ray.remote(num_cpus=config.threads or 1, num_gpus=gpus, max_retries=config.retries)(train_task)
        self._flags = {"resume": resume, "overwrite": overwrite}
        self._running: dict[str, Any] = {}
        # (run, future of its task), or ("", future of events)
        self._news: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._ask()

    def _check_storage(self, names: Sequence[str]) -> None:
        for url in map(self._url, names):
            if url is not None and Mirror(url).holds_a_copy:
                raise ConfigError(
                    f"{url} already holds a run: continue it with --resume, discard it with --overwrite, or choose "
                    "another place with --storage",
                    "storage",
                )

    def _ask(self) -> None:
        """Ask for the next events."""
        self._post.take.remote().future().add_done_callback(lambda future: self._news.put(("", future)))

    def start(self, run: RunConfig) -> None:
        """Submit the task of a run, which waits until a node has room for it."""
        here, url = str(Path.cwd()), self._url(run.name)
        task = self._task.remote(_with_whole_paths(run), self._post, here, url, **self._flags)
        self._running[run.name] = task
        self._folders[run.name] = run.folder
        task.future().add_done_callback(lambda future: self._news.put((run.name, future)))

    def wait(self, tell: Tell) -> None:
        """Wait for events, or for a task that was lost for good, and tell them."""
        while True:
            with contextlib.suppress(queue.Empty):
                name, future = self._news.get(timeout=LOOK)
                break
        error = future.exception()
        if not name:
            if error is not None:
                raise error
            self._ask()
            for event in future.result():
                self._tell(event, tell)
        elif error is not None:
            self._tell(Failed(name, _reason(error)), tell)

    def _tell(self, event: Event, tell: Tell) -> None:
        """Tell an event, unless its run has ended: a node that was given up may still be at work."""
        if event.run in self._running:
            if isinstance(event, (Ended, Failed)):
                del self._running[event.run]
            tell(self._fetched(event) if isinstance(event, Ended) else event)

    def _url(self, run: str) -> str | None:
        """Where the copy of a run is."""
        return None if self._storage is None else f"{self._storage.rstrip('/')}/{run}"

    def _fetched(self, event: Ended) -> Ended | Failed:
        """The end of a run, whose folder is now that of the comparison."""
        folder, url = self._folders[event.run], self._url(event.run)
        if url is not None:
            try:
                if not Mirror(url).download(folder):
                    return Failed(event.run, f"{url} has no whole copy of the run")
                RunFolder(folder).settle_here()
            except (OSError, TrainingError) as error:
                return Failed(event.run, f"{url} cannot be copied: {error}")
        return dataclasses.replace(event, folder=str(folder))

    def close(self) -> None:
        """Cancel the tasks, which save their steps if that takes less than `GRACE` seconds; leave the cluster."""
        ray = self._ray
        tasks = list(self._running.values())
        try:
            for task in tasks:
                ray.cancel(task, force=False)
            until = time.monotonic() + GRACE
            while tasks and time.monotonic() < until:
                _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=LOOK)
        finally:
            for task in tasks:
                ray.cancel(task, force=True)
            self._running.clear()
            ray.kill(self._post)
            if self._own:
                ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    """Connect to a cluster. Ray sets a handler of SIGTERM, which is put back: the comparison stops its runs first."""
    _check_address(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=None if address else False)
    except (ConnectionError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(f"address is {address!r}: no Ray cluster there ({said})", "address") from None
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, handler)


def _check_address(address: str | None) -> None:
    """Check that something listens at HOST:PORT, as Ray itself waits for minutes.

    Raises:
        ConfigError: if nothing does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"address is {address!r}: no Ray cluster there ({error})", "address") from None


def _with_whole_paths(run: RunConfig) -> RunConfig:
    """The run with absolute paths, as tasks have another working directory."""
    data = run.data
    paths: dict[str, Any] = {
        key: str(Path(path).absolute()) for key in ("root", "cache") if (path := getattr(data, key)) is not None
    }
    return dataclasses.replace(run, out=str(run.folder.absolute()), data=dataclasses.replace(data, **paths))


def _reason(error: BaseException) -> str:
    """The error of a task in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "Traceback" in str(error) or "ray::" in lines[0] else lines[0]
