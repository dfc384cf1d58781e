"""The training loop: one run from its configuration to its final figures, saved after every epoch.

All randomness follows from the seed: the initial weights from (seed, "weights"), the order and augmentation of an
epoch from (seed, epoch), what a network draws itself (dropout) from PyTorch's generator, whose state is in the
checkpoint. So a run continued after its last checkpoint gives the numbers of an uninterrupted one, and at one seed
all methods start from the same weights and see the same images.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from analysis.tracker import IMinTracker
from dynpool.training import checkpoint as checkpoints
from dynpool.training.config import RunConfig, fingerprint, to_dict
from dynpool.training.data import Dataset, Images, generator_for, load_data
from dynpool.training.errors import ConfigError, DivergedError, RunFolderError, writing
from dynpool.training.files import locked, make_folder
from dynpool.training.memory import PeakMemory
from dynpool.training.methods import Prepared, prepare
from dynpool.training.models import build_model
from dynpool.training.progress import Reporter, Silent
from dynpool.training.run_folder import RunFolder

__all__ = ["learning_rate_factor", "prepare_model", "train"]


def learning_rate_factor(config: RunConfig, steps_per_epoch: int, *, part: float = 1.0) -> Callable[[int], float]:
    """What a learning rate is multiplied by at a step, counted from 0 over the whole run.

    With `part` below 1 the schedule takes that part of the run, and the rate is zero from then on.
    """
    total = config.epochs * steps_per_epoch * part
    warmup = round(config.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        done = step / total
        if part < 1 and done >= 1:
            return 0.0
        if step < warmup:
            return (step + 1) / warmup
        if config.scheduler == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if config.scheduler == "multistep":
            return 0.1 ** ((done >= 0.5) + (done >= 0.75))
        return 1.0

    return factor


def prepare_model(config: RunConfig, dataset: Dataset) -> Prepared:
    """The network of a run with its initial weights, made ready by its method; on the CPU.

    Raises:
        ConfigError: for an unknown model or method, or one that does not fit the data.
    """
    torch.manual_seed(generator_for(config.seed, "weights").initial_seed())
    model = build_model(config.model, num_classes=len(dataset.classes), in_channels=dataset.input_size[0])
    prepared = prepare(model, config, dataset.input_size)
    torch.manual_seed(generator_for(config.seed, "training").initial_seed())
    return prepared


def train(
    config: RunConfig, *, resume: bool = False, overwrite: bool = False, reporter: Reporter | None = None
) -> Mapping[str, Any]:
    """Train one run and return its final figures (the content of done.json).

    Args:
        config: the run.
        resume: continue after the last checkpoint, if there is one; a finished run is returned as it is.
        overwrite: discard the run in the folder.
        reporter: receives the progress.

    Raises:
        TrainingError: see `dynpool.training.errors`; every subclass says what to do.
        KeyboardInterrupt: Ctrl-C; all finished epochs are saved.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    accelerator = _accelerator(config)
    folder = RunFolder(config.folder)
    if not accelerator.is_main_process:
        return _train(config, folder, accelerator, resume=resume, overwrite=overwrite, reporter=Silent())
    make_folder(folder.path)
    folder.check_writable()
    with locked(folder.path):
        return _train(config, folder, accelerator, resume=resume, overwrite=overwrite, reporter=reporter or Silent())


def _accelerator(config: RunConfig) -> Accelerator:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but PyTorch finds no GPU; allowed here: auto, cpu")
    try:
        return Accelerator(cpu=config.device == "cpu", mixed_precision=config.precision)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"device {config.device!r} with precision {config.precision!r}: {error}") from error


def _train(
    config: RunConfig, folder: RunFolder, accelerator: Accelerator, *, resume: bool, overwrite: bool, reporter: Reporter
) -> Mapping[str, Any]:
    with accelerator.main_process_first():
        dataset = load_data(config.data)
    if config.input_size not in (None, dataset.input_size):
        raise ConfigError(f"input_size is {config.input_size}, but the data give {dataset.input_size}: leave it out")
    config = dataclasses.replace(config, input_size=dataset.input_size, out=str(folder.path))
    prepared = prepare_model(config, dataset)  # a configuration that cannot run leaves the folder as it is
    main = accelerator.is_main_process
    restored = None
    if main:
        finished = _finished(folder, config) if resume else None
        if finished is not None:
            return finished
        restored = folder.open(config, resume=resume, overwrite=overwrite)
        folder.write_config(config)
        folder.write_method(prepared.summary)
    accelerator.wait_for_everyone()
    if not main and resume and checkpoints.last_path(folder.path).exists():
        restored = checkpoints.load(checkpoints.last_path(folder.path))
    run = _Run(config, folder, accelerator, dataset, prepared)
    if main:
        folder.write_environment(accelerator.device, accelerator.num_processes, restored.epoch if restored else None)
    first = run.restore(restored) + 1 if restored is not None else 0
    reporter.start(config.name, config.epochs, max(first - 1, 0), len(dataset.train))
    for epoch in range(first, config.epochs + 1):
        row = run.epoch(epoch, reporter)
        if main:
            run.save(epoch, row)
        accelerator.wait_for_everyone()
        reporter.epoch(row)
    figures = run.figures()
    if main:
        folder.finish(figures)
    accelerator.wait_for_everyone()
    return figures


def _finished(folder: RunFolder, config: RunConfig) -> Mapping[str, Any] | None:
    """The figures of a run that is finished as `config` asks for, after its checkpoint has been compared with it."""
    figures = folder.finished()
    if figures is None or figures.get("epochs", 0) < config.epochs:
        return None
    if figures.get("fingerprint") == fingerprint(to_dict(config)):
        return figures
    folder.open(config, resume=True, overwrite=False)  # names the keys that differ
    raise RunFolderError(f"{folder.path} holds a finished run of another configuration; discard it with --overwrite")


@dataclass
class _Totals:
    """Sums over the images of an epoch, kept on the device: (task loss, penalty, correct, images)."""

    sums: Tensor

    def add(self, task: Tensor, penalty: Tensor | None, correct: Tensor, images: int) -> None:
        self.sums[0] += task.detach().double() * images
        if penalty is not None:
            self.sums[1] += penalty.detach().double() * images
        self.sums[2] += correct
        self.sums[3] += images

    def means(self, accelerator: Accelerator) -> tuple[float, float, float]:
        """(task loss, penalty, accuracy) over all processes: the one time an epoch that the host waits for them."""
        sums = self.sums if accelerator.num_processes == 1 else accelerator.reduce(self.sums, "sum")
        task, penalty, correct, images = sums.tolist()
        return task / images, penalty / images, correct / images


class _Run:
    """A run in progress."""

    def __init__(
        self, config: RunConfig, folder: RunFolder, accelerator: Accelerator, dataset: Dataset, prepared: Prepared
    ) -> None:
        self.config, self.folder, self.accelerator, self.prepared = config, folder, accelerator, prepared
        self.model = prepared.model
        self.memory = PeakMemory(accelerator.device)
        self.steps = _steps(len(dataset.train), config.batch_size, accelerator.num_processes)
        self.tracker = None
        if accelerator.is_main_process:
            with writing(folder.i_min):
                self.tracker = IMinTracker(self.model, dataset.input_size, folder.i_min)
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.base = torch.optim.SGD(
            prepared.groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0
        )
        factors = [
            learning_rate_factor(config, self.steps, part=config.alpha_until if group.get("name") == "alphas" else 1.0)
            for group in prepared.groups
        ]
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.base, factors)
        self.wrapped, self.optimizer = accelerator.prepare(self.model, self.base)
        self.dataset = dataset.to(accelerator.device)

    def restore(self, saved: checkpoints.Checkpoint) -> int:
        """Put back a checkpoint's state; gives its epoch."""
        checkpoints.restore_model(self.model, saved, checkpoints.last_path(self.folder.path))
        self.base.load_state_dict(dict(saved.optimizer))
        self.scheduler.load_state_dict(dict(saved.scheduler))
        if self.accelerator.scaler is not None and saved.scaler:
            self.accelerator.scaler.load_state_dict(dict(saved.scaler))
        checkpoints.set_rng_state(saved.rng)
        return saved.epoch

    def epoch(self, epoch: int, reporter: Reporter) -> dict[str, Any]:
        """Train one epoch (none for epoch 0), test, and give the row of metrics.csv."""
        begin = time.perf_counter()
        train_means, rates, images_per_second = None, [g["lr"] for g in self.base.param_groups], None
        if epoch > 0:
            train_means, rates = self._pass(epoch, reporter)
            images_per_second = len(self.dataset.train) / (time.perf_counter() - begin)
        test_loss, _, test_accuracy = self._test(self.dataset.test)
        named = {g.get("name"): rate for g, rate in zip(self.base.param_groups, rates, strict=True)}
        row: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": train_means and train_means[0] + train_means[1],
            "task_loss": train_means and train_means[0],
            "gmacs_loss": train_means and train_means[1],
            "train_accuracy": train_means and train_means[2],
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "lr": rates[0],
            "alpha_lr": named.get("alphas"),
        }
        return row | self._sizes(epoch) | {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "seconds": time.perf_counter() - begin,
            "images_per_second": images_per_second,
            "peak_memory": self.memory.peak(),
        }  # fmt: skip

    def _sizes(self, epoch: int) -> dict[str, Any]:
        if self.tracker is None:
            return {}
        with writing(self.folder.i_min):
            line = self.tracker.log(epoch)
        (i_min_h, i_min_w), (i_max_h, i_max_w) = line["i_min"], line["i_max"]
        columns = {"i_min_h": i_min_h, "i_min_w": i_min_w, "i_max_h": i_max_h, "i_max_w": i_max_w}
        return {
            key: line[key] for key in ("gmacs", "sizes", "alphas", "strides", "unproductive", "behind_global")
        } | columns

    def _pass(self, epoch: int, reporter: Reporter) -> tuple[tuple[float, float, float], list[float]]:
        config, accelerator = self.config, self.accelerator
        self.wrapped.train()
        totals = _Totals(torch.zeros(4, dtype=torch.float64, device=accelerator.device))
        rates: list[float] = []
        batches = self.dataset.train.batches(
            config.batch_size, seed=config.seed, epoch=epoch, shift=config.data.shift, flip=config.data.flip,
            share=(accelerator.process_index, accelerator.num_processes),
        )  # fmt: skip
        for images, labels in batches:
            logits = self.wrapped(self._laid_out(images))
            task = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            penalty = self.prepared.penalty() if self.prepared.penalty is not None else None
            self.optimizer.zero_grad()
            accelerator.backward(task if penalty is None else task + penalty)
            rates = [g["lr"] for g in self.base.param_groups]
            step = self.scheduler.last_epoch + 1
            if step % self.prepared.alphas_every:
                self._leave_alphas()
            self.optimizer.step()
            self.prepared.after_step(step, self.steps * config.epochs)
            self.scheduler.step()
            totals.add(task, penalty, (logits.argmax(1) == labels).sum(), len(labels))
            reporter.advance(len(labels) * accelerator.num_processes)
        means = totals.means(accelerator)
        if not math.isfinite(means[0] + means[1]):
            raise DivergedError(
                f"{config.name}: the training loss of epoch {epoch} is {means[0] + means[1]}; "
                f"lower lr ({config.lr}) or alpha_lr ({config.alpha_lr})"
            )
        return means, rates

    def _leave_alphas(self) -> None:
        """Without a gradient the optimiser passes them over, their momentum too."""
        for group in self.base.param_groups:
            if group.get("name") == "alphas":
                for alpha in group["params"]:
                    alpha.grad = None

    @torch.no_grad()
    def _test(self, images: Images) -> tuple[float, float, float]:
        model = self.accelerator.unwrap_model(self.wrapped)
        model.eval()
        totals = _Totals(torch.zeros(4, dtype=torch.float64, device=self.accelerator.device))
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        for batch, labels in images.batches(max(self.config.batch_size, 128), share=share):
            if not len(labels):
                continue
            logits = model(self._laid_out(batch))
            totals.add(F.cross_entropy(logits, labels), None, (logits.argmax(1) == labels).sum(), len(labels))
        return totals.means(self.accelerator)

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.config.channels_last else images

    def save(self, epoch: int, row: Mapping[str, Any]) -> None:
        """Write the row, then the checkpoint: a row without its checkpoint is dropped when the run continues."""
        self.folder.append(row)
        config = to_dict(self.config)
        scaler = self.accelerator.scaler
        state = checkpoints.Checkpoint(
            epoch=epoch,
            config=config,
            fingerprint=fingerprint(config),
            model=_on_cpu(self.model),
            optimizer=self.base.state_dict(),
            scheduler=self.scheduler.state_dict(),
            scaler=scaler.state_dict() if scaler is not None else {},
            rng=checkpoints.rng_state(),
        )
        every = self.config.checkpoint_every
        kept = [checkpoints.epoch_path(self.folder.path, epoch)] if every and epoch % every == 0 else []
        checkpoints.save(state, *kept, checkpoints.last_path(self.folder.path))

    def figures(self) -> dict[str, Any]:
        """The final figures: those of the last epoch, and the best test accuracy on the way."""
        rows = self.folder.rows
        if not rows:
            return {}
        return {
            "name": self.config.name,
            "method": self.config.method,
            "seed": self.config.seed,
            "epochs": int(rows[-1]["epoch"]),
            "test_accuracy": float(rows[-1]["test_accuracy"]),
            "best_test_accuracy": max(float(row["test_accuracy"]) for row in rows),
            "gmacs": float(rows[-1]["gmacs"]),
            "parameters": int(rows[-1]["parameters"]),
            "seconds": sum(float(row["seconds"]) for row in rows),
            "fingerprint": fingerprint(to_dict(self.config)),
        }


def _steps(images: int, batch_size: int, processes: int) -> int:
    """Optimiser steps an epoch (see `Images.batches` for the last one)."""
    whole, rest = divmod(images, batch_size)
    return whole + (rest >= processes if processes > 1 else rest > 0)


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
