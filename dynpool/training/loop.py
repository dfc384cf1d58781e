"""The training loop: one run from its configuration to its final figures, saved after every epoch.

All randomness follows from the seed: the initial weights from (seed, "weights"), order and augmentation of an epoch
from (seed, epoch), and draws of the network itself (dropout) from PyTorch's generator, whose state is in the
checkpoint. So a resumed run gives the same numbers as an uninterrupted one, and with the same seed all methods start
from the same weights and see the same images.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from dynpool.analysis.common.checksums import CHECKSUM

from . import checkpoint as checkpoints
from .accelerators import accelerator_for, peers
from .config import RunConfig
from .config_identity import fingerprint, to_dict
from .data import Dataset, load_data
from .errors import ConfigError, TrainingError
from .files import locked, make_folder
from .methods import Prepared, prepare
from .models import build_model
from .places import check_folder
from .progress import Reporter, Silent
from .restarts import continues
from .run import Run
from .run_folder import RunFolder
from .seeding import generator_for
from .stop import Stop, stopping
from .tasks import task_of
from .trackers import Trackers, check_trackers

__all__ = ["prepare_model", "train"]


def prepare_model(config: RunConfig, dataset: Dataset) -> Prepared:
    """The network of a run with its initial weights, prepared by its method, on the CPU.

    Raises:
        ConfigError: for an unknown model or method, or one that does not fit the data.
    """
    torch.manual_seed(generator_for(config.seed, "weights").initial_seed())
    classes, channels = len(dataset.classes), dataset.input_size[0]
    model = build_model(config.model, num_classes=classes, in_channels=channels, task=config.task)
    task_of(config, classes).check(model, dataset.input_size)
    prepared = prepare(model, config, dataset.input_size)
    torch.manual_seed(generator_for(config.seed, "training").initial_seed())
    return prepared


def train(
    config: RunConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
    patience: float = 0.0,
) -> Mapping[str, Any]:
    """Train one run and return its final figures (the content of done.json).

    Args:
        config: the run.
        resume: continue after the last checkpoint, if there is one. A finished run with unchanged files is not trained
            again. A run that torchrun has restarted continues automatically.
        overwrite: discard the run in the folder.
        reporter: receives the progress.
        stop: the caller's record of signals; None: signals without a handler are recorded during the run.
        patience: seconds to wait if another process still writes the folder.

    Raises:
        TrainingError: see `dynpool.training.errors`; every subclass states a remedy.
        StoppedError: after SIGTERM or SIGHUP, when the current step is finished and saved.
        KeyboardInterrupt: after Ctrl-C, when the current step is finished and saved; at once after a second one.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with nullcontext(stop) if stop is not None else stopping() as noted:
        accelerator = accelerator_for(config)
        folder = RunFolder(config.folder)
        if not accelerator.is_main_process:
            with peers(config, accelerator.num_processes):
                return _train(config, folder, accelerator, noted, resume=resume, overwrite=overwrite, reporter=Silent())
        check_folder(folder.path)
        make_folder(folder.path)
        with locked(folder.path, patience), peers(config, accelerator.num_processes):
            return _train(
                config, folder, accelerator, noted, resume=resume, overwrite=overwrite, reporter=reporter or Silent()
            )


def _train(
    config: RunConfig,
    folder: RunFolder,
    accelerator: Accelerator,
    stop: Stop,
    *,
    resume: bool,
    overwrite: bool,
    reporter: Reporter,
) -> Mapping[str, Any]:
    with accelerator.main_process_first():
        dataset = load_data(config.data)
    if config.input_size not in (None, dataset.input_size):
        raise ConfigError(f"input_size is {config.input_size}, but the images have {dataset.input_size}: omit it")
    config = dataclasses.replace(config, input_size=dataset.input_size, out=str(folder.path))
    check_trackers(config)
    prepared = prepare_model(config, dataset)  # before the folder is changed, as it may raise
    main = accelerator.is_main_process
    begin = _Begin()
    if main:
        try:
            begin = _begin(config, folder, prepared, accelerator, resume=resume, overwrite=overwrite)
        except TrainingError as error:
            folder.replaced.put_back()
            begin.error = str(error)
            _shared(begin, accelerator)
            raise
    begin = _shared(begin, accelerator)
    if begin.error is not None:
        raise TrainingError(begin.error)
    if begin.figures is not None:
        return begin.figures
    first, partial = 0, None
    tracked = config if main else dataclasses.replace(config, track=())
    with folder.replaced.until_begun() if main else nullcontext():  # until nothing more can be refused
        run = Run(config, folder, accelerator, dataset, prepared, stop)
        if begin.path is not None:
            saved = checkpoints.load(begin.path)
            run.restore(saved, begin.path)
            first, partial = saved.epoch + 1, saved.partial
        elif prepared.latency is not None:
            prepared.latency.start(accelerator.device, accelerator.num_processes)
        trackers = Trackers(tracked, folder.path, resumed=begin.path is not None)
    with trackers:
        reporter.start(config.name, config.epochs, max(first - 1, 0), len(dataset.train))
        with _stopped_at_steps(accelerator, stop, config.peer_timeout):
            for epoch in range(first, config.epochs + 1):
                row = run.epoch(epoch, reporter, partial)
                partial = None
                shared = run.shared_state()
                if main:
                    run.save(epoch, row, shared)
                trackers.epoch(row)
                accelerator.wait_for_everyone()
                reporter.epoch(row)
        figures = run.figures()
        if main:
            run.write_examples()
            folder.finish(figures)
        trackers.pictures(config.epochs)
    accelerator.wait_for_everyone()
    return figures


@contextmanager
def _stopped_at_steps(accelerator: Accelerator, stop: Stop, timeout: float) -> Iterator[None]:
    """Let signals stop the run after a step."""
    stop.join(accelerator.num_processes, timeout)
    stop.at_steps = True
    try:
        yield
    finally:
        stop.at_steps = False


@dataclass
class _Begin:
    """The main process's finding in the run folder: an error, the figures of a finished run, or a checkpoint."""

    error: str | None = None
    figures: Mapping[str, Any] | None = None
    path: Path | None = None


def _begin(
    config: RunConfig, folder: RunFolder, prepared: Prepared, accelerator: Accelerator, *, resume: bool, overwrite: bool
) -> _Begin:
    if continues(folder.sessions):
        resume, overwrite = True, False
    finished = _finished(folder, config) if resume else None
    if finished is not None:
        return _Begin(figures=finished)
    restored = folder.open(config, resume=resume, overwrite=overwrite)
    after = restored.epoch if restored is not None else None
    folder.write_environment(accelerator.device, accelerator.num_processes, after)
    folder.write_config(config)
    folder.write_method(prepared.summary)
    return _Begin(path=folder.checkpoints()[-1] if restored is not None else None)


def _shared(begin: _Begin, accelerator: Accelerator) -> _Begin:
    """The `_Begin` of the main process, broadcast to all processes."""
    shared = [begin]
    if accelerator.num_processes > 1:
        broadcast_object_list(shared)
    return shared[0]


def _finished(folder: RunFolder, config: RunConfig) -> Mapping[str, Any] | None:
    """The figures of a run that is finished with this configuration and whose files are unchanged; else None."""
    done = folder.finished()
    if done is None or done.get("fingerprint") != fingerprint(to_dict(config)):
        return None  # the differences are reported when the checkpoint is loaded
    epochs = done.get("epochs")
    if not isinstance(epochs, int) or epochs < config.epochs or not folder.check_finished(done):
        return None
    return {key: value for key, value in done.items() if key not in ("files", CHECKSUM)}
