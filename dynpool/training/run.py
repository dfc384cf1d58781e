"""A training run in progress: its epochs, checkpoints and final figures."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dynpool.analysis import IMinTracker
from dynpool.analysis.common.axis_names import along_axes

from . import checkpoint as checkpoints
from .augmentation import Augmentation
from .averaging import AveragedModel
from .compiled_network import compiled_network
from .config import RunConfig
from .config_identity import fingerprint, to_dict
from .data import Dataset, Split
from .errors import DivergedError, writing
from .memory import PeakMemory
from .methods import Prepared
from .metrics_file import FIELDS
from .objective import mixed, task_loss
from .optimizer import LEARNED, learning_rate_factor, make_optimizer
from .progress import Reporter
from .ranks import Ranks, SharedState, on_cpu
from .run_folder import RunFolder
from .sensitivity import LOGGED_BATCHES, RunBatches, run_sensitivity
from .stop import FINISHED, Stop
from .tasks import task_of
from .totals import Totals

__all__ = ["Run"]


@dataclass
class _EpochProgress:
    """The progress of an epoch: start time, sums of its `Totals`, learning rates of its last step, steps done."""

    epoch: int
    begin: float
    sums: Tensor
    rates: list[float]
    step: int = 0


class Run:
    """A training run in progress, with its model, optimiser, schedule and folder."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        accelerator: Accelerator,
        dataset: Dataset[Split],
        prepared: Prepared,
        stop: Stop,
    ) -> None:
        self.config, self.folder, self.accelerator, self.prepared = config, folder, accelerator, prepared
        self.stop = stop
        self.model = prepared.model
        self.memory = PeakMemory(accelerator.device)
        self.steps = _steps(len(dataset.train), config.batch_size, accelerator.num_processes)
        self.tracker = None
        if accelerator.is_main_process:
            with writing(folder.i_min):
                self.tracker = IMinTracker(self.model, dataset.input_size, folder.i_min)
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.ranks = Ranks(accelerator, config, self.model, prepared.groups)
        self.base = make_optimizer(self.model, prepared.groups, config)
        fractions = (config.alpha_until if group["name"] in LEARNED else 1.0 for group in self.base.param_groups)
        factors = [learning_rate_factor(config, self.steps, fraction=fraction) for fraction in fractions]
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.base, factors)
        self.wrapped, self.optimizer = self.ranks.wrap(self.model, self.base)
        learned = any(group["name"] in LEARNED for group in self.base.param_groups)
        self.settled = math.ceil(config.alpha_until * self.steps * config.epochs) if learned else 0  # steps with moves
        self.settled_penalty: Tensor | None = None
        self.compiled: Callable[[Tensor], Tensor] | None = None
        self.average = AveragedModel(self.model, config.ema) if config.ema else None
        self.task = task_of(config, len(dataset.classes))
        self.loss = task_loss(config)
        self.dataset = dataset.to(accelerator.device)

    def restore(self, saved: checkpoints.Checkpoint, path: Path) -> None:
        """Restore the state of a checkpoint."""
        self.ranks.restore(self.model, self.base, saved, path)
        if self.average is not None:
            checkpoints.restore_model(self.average.model, saved, path, averaged=True)
        steps = saved.epoch * self.steps + (saved.partial.step if saved.partial is not None else 0)
        checkpoints.restore_scheduler(self.scheduler, saved, steps, path)
        if self.prepared.latency is not None:
            self.prepared.latency.start(self.accelerator.device, self.accelerator.num_processes, saved.latency)
        if self.accelerator.scaler is not None and saved.scaler:
            self.accelerator.scaler.load_state_dict(dict(saved.scaler))
        checkpoints.restore_rng(saved, path, self.accelerator.process_index, self.accelerator.num_processes)

    def epoch(self, epoch: int, reporter: Reporter, partial: checkpoints.Partial | None) -> dict[str, Any]:
        """Train an epoch, or the rest of a partial one; test; return the row for metrics.csv. Epoch 0 only tests."""
        progress = _EpochProgress(epoch, time.perf_counter(), Totals.empty(self.task), [])
        progress.rates = [g["lr"] for g in self.base.param_groups]
        if partial is not None:
            progress.begin -= partial.seconds
            progress.step, progress.rates = partial.step, list(partial.rates)
            if self.accelerator.process_index < len(partial.sums):
                progress.sums = partial.sums[self.accelerator.process_index]
        progress.sums = progress.sums.to(self.accelerator.device)
        train_means, images_per_second = None, None
        if epoch > 0:
            train_means = self._train(progress, reporter)
            images_per_second = len(self.dataset.train) / (time.perf_counter() - progress.begin)
        test_loss, _, tested = self._test(self.dataset.test, progress)
        trained = train_means[2] if train_means else dict.fromkeys(tested)
        begin, rates = progress.begin, progress.rates
        named = {g.get("name"): rate for g, rate in zip(self.base.param_groups, rates, strict=True)}
        row: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": train_means and train_means[0] + train_means[1],
            "task_loss": train_means and train_means[0],
            "gmacs_loss": train_means and train_means[1],
            **{f"train_{name}": value for name, value in trained.items()},
            "test_loss": test_loss,
            **{f"test_{name}": value for name, value in tested.items()},
            "lr": max(rate for g, rate in zip(self.base.param_groups, rates, strict=True) if g["name"] not in LEARNED),
            "alpha_lr": named.get("alphas"),
            "kernel_lr": named.get("kernels"),
        }
        row |= self._sizes(epoch) | {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "seconds": time.perf_counter() - begin,
            "images_per_second": images_per_second,
            "peak_memory": self.memory.peak(),
        }  # fmt: skip
        row |= self._latency()
        self._log_sensitivity(progress)
        return row

    def _latency(self) -> dict[str, Any]:
        latency = self.prepared.latency
        if latency is None or self.tracker is None:
            return {"latency_ms": None, "predicted_ms": None}
        measured = latency.measured()
        return {"latency_ms": measured, "predicted_ms": latency.value() if latency.predicted else None}

    def _log_sensitivity(self, progress: "_EpochProgress") -> None:
        """Append a line to sensitivity.jsonl if one is due. The times in metrics.csv do not include this."""
        every = self.config.sensitivity_every
        if self.tracker is None or not every or progress.epoch % every:
            return
        single = self.accelerator.num_processes == 1  # several processes must check for a stop together
        stop = partial(self._stop_if_asked, progress) if single else None
        batches = RunBatches(self.dataset.train, self.config, LOGGED_BATCHES, stop)
        report = run_sensitivity(self.model, batches)
        self.folder.append_sensitivity({"step": progress.epoch, **report.to_dict()})

    def _sizes(self, epoch: int) -> dict[str, Any]:
        if self.tracker is None:
            return {}
        with writing(self.folder.i_min):
            line = self.tracker.log(epoch)
        columns = {
            column: value
            for name in FIELDS
            for column, value in zip(along_axes(name, len(line[name])), line[name], strict=True)
        }
        return (
            {key: line[key] for key in ("gmacs", "sizes", "alphas", "strides", "unproductive", "behind_global")}
            | {key: line.get(key, {}) for key in ("kernels", "kernel_maps")}
            | columns
        )

    def _train(self, progress: "_EpochProgress", reporter: Reporter) -> tuple[float, float, dict[str, float]]:
        config, accelerator = self.config, self.accelerator
        self.wrapped.train()
        totals = Totals(progress.sums, self.task)
        batches = self.dataset.train.batches(
            config.batch_size, seed=config.seed, epoch=progress.epoch, augmentation=Augmentation.of(config.data),
            share=(accelerator.process_index, accelerator.num_processes), skip=progress.step,
        )  # fmt: skip
        reporter.advance(min(progress.step * config.batch_size, len(self.dataset.train)))
        with closing(batches):  # ends the processes that decode images, whatever happens
            for images, labels in batches:
                self._step(images, labels, progress, totals)
                reporter.advance(len(labels) * accelerator.num_processes)
                self._stop_if_asked(progress)
                if config.save_steps and progress.step % config.save_steps == 0 and progress.step < self.steps:
                    self._save_progress(progress)
        means = totals.means(accelerator)
        if not math.isfinite(means[0] + means[1]):
            raise DivergedError(
                f"{config.name}: the training loss of epoch {progress.epoch} is {means[0] + means[1]}; "
                f"lower lr ({config.lr}) or alpha_lr ({config.alpha_lr})"
            )
        return means

    def _step(self, images: Tensor, labels: Tensor, progress: "_EpochProgress", totals: Totals) -> None:
        """One step of the optimiser on a batch."""
        clip = self.config.optimizer.clip_norm
        self.optimizer.zero_grad()
        self._gradients(images, labels, progress, totals)
        progress.rates = [g["lr"] for g in self.base.param_groups]
        step = self.scheduler.last_epoch + 1
        if step > self.settled:
            self._skip(LEARNED)
        elif step % self.prepared.alphas_every:
            self._skip(("alphas",))
        if clip is not None:
            self.accelerator.clip_grad_norm_(self._weights(), clip)
        self.optimizer.step()
        self.prepared.after_step(step, self.steps * self.config.epochs)
        self.scheduler.step()
        if self.average is not None:
            self.average.update(self.model)
        progress.step += 1

    def _gradients(self, images: Tensor, labels: Tensor, progress: "_EpochProgress", totals: Totals) -> None:
        """Add the gradients of a batch, passed in as many parts as the configuration says, and its figures."""
        classes, step = len(self.dataset.classes), (progress.epoch, progress.step)
        images, targets = mixed(images, labels, self.config, classes, step)
        network, parts = self._network(), self._parts(progress)
        chunks = list(zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True))
        for number, (part, wanted) in enumerate(chunks, start=1):
            last = number == len(chunks)
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                scores = self.task.scores(network(self._in_memory_format(part)), wanted)
                task = self.loss(scores, wanted)
                penalty = self._penalty() if last else None
                share = self.task.share(wanted, targets) if parts > 1 else 1.0
                own = task * (share * self._weight(len(images), progress))
                self.accelerator.backward(own if penalty is None else own + penalty)
            totals.add(task, self.task.count(scores, wanted), len(part), share * len(images))
            if penalty is not None:
                totals.add_penalty(penalty, len(images))
        self.ranks.average_gradients()

    def _penalty(self) -> Tensor | None:
        """The term that the method adds to the loss; the same number at every step once nothing in it is learned."""
        penalty = self.prepared.penalty
        if penalty is None or self.prepared.penalty_of_weights or self.scheduler.last_epoch < self.settled:
            return None if penalty is None else penalty()
        if self.settled_penalty is None:
            with torch.no_grad():
                self.settled_penalty = penalty()
        return self.settled_penalty

    def _parts(self, progress: "_EpochProgress") -> int:
        """The number of parts that a batch is passed in: the same in all processes, though some have an image less."""
        images = self._step_images(progress) // self.accelerator.num_processes
        return max(min(self.config.optimizer.accumulate, images), 1)

    def _weight(self, images: int, progress: "_EpochProgress") -> float:
        """What the mean loss of this process's images counts, as the processes' gradients are averaged."""
        return images * self.accelerator.num_processes / self._step_images(progress)

    def _step_images(self, progress: "_EpochProgress") -> int:
        """The images of this step, of all processes."""
        return min(self.config.batch_size, len(self.dataset.train) - progress.step * self.config.batch_size)

    def _network(self) -> Callable[[Tensor], Tensor]:
        """The network to train; compiled, if that is asked for, once its sizes no longer change."""
        if not self.config.compile or self.scheduler.last_epoch < self.settled:
            found: Callable[[Tensor], Tensor] = self.wrapped
            return found
        if self.compiled is None:
            self.compiled = compiled_network(self.wrapped, self.config.name)
        return self.compiled

    def _weights(self) -> list[nn.Parameter]:
        groups = (group for group in self.base.param_groups if group["name"] not in LEARNED)
        return [parameter for group in groups for parameter in group["params"]]

    def _save_progress(self, progress: "_EpochProgress") -> None:
        """Save the progress in the middle of an epoch, from which the run can continue."""
        sums, shared = self.accelerator.gather(progress.sums[None]).cpu(), self.shared_state()
        seconds = time.perf_counter() - progress.begin
        if self.accelerator.is_main_process:
            partial = checkpoints.Partial(progress.step, sums, progress.rates, seconds)
            state = self._state(progress.epoch - 1, partial, shared)
            checkpoints.save(state, checkpoints.stopped_path(self.folder.path))
        self.accelerator.wait_for_everyone()

    def _stop_if_asked(self, progress: "_EpochProgress") -> None:
        """If a signal asks for it, save the progress of the epoch and raise the exception that ends the run."""
        if not self.stop.asked(self.ranks.mark_of_sizes()):
            return
        saved = FINISHED
        if progress.epoch == 0:
            saved = "nothing had been trained yet"
        elif progress.step:
            saved += f", and step {progress.step} of epoch {progress.epoch}"
            self._save_progress(progress)
        raise self.stop.error(saved)

    def _skip(self, groups: Sequence[str]) -> None:
        """Remove the gradients of these groups, so that the optimiser skips them and leaves their momentum as it is."""
        for group in self.base.param_groups:
            if group.get("name") in groups:
                for parameter in group["params"]:
                    parameter.grad = None

    @torch.no_grad()
    def _test(self, images: Split, progress: "_EpochProgress") -> tuple[float, float, dict[str, float]]:
        model = self.model if self.average is None else self.average.model
        model.eval()
        if self.accelerator.num_processes > 1:  # batch-norm statistics differ; test with those that are saved
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)
        totals = Totals(Totals.empty(self.task, self.accelerator.device), self.task)
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        with closing(images.batches(max(self.config.batch_size, 128), share=share)) as batches:
            for batch, labels in batches:
                self._stop_if_asked(progress)
                if not len(labels):
                    self.ranks.join_pass(model, batch)
                    continue
                scores = self.task.predict(model, self._in_memory_format(batch), labels)
                totals.add(self.task.test_loss(scores, labels), self.task.count(scores, labels), len(labels))
        return totals.means(self.accelerator)

    def _in_memory_format(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.config.channels_last else images

    def shared_state(self) -> SharedState:
        """The state of all processes, which must all call this."""
        return self.ranks.shared_state(self.model, self.base)

    def save(self, epoch: int, row: Mapping[str, Any], shared: SharedState) -> None:
        """Write the row, then the checkpoint. Resuming drops a row that has no checkpoint.

        The checkpoint within the epoch is removed last: until then a run continues from it, so that no moment loses
        more than the steps since.
        """
        self.folder.append(row)
        every = self.config.checkpoint_every
        kept = [checkpoints.epoch_path(self.folder.path, epoch)] if every and epoch % every == 0 else []
        state = self._state(epoch, None, shared)
        checkpoints.save(state, *kept, checkpoints.last_path(self.folder.path))
        stopped = checkpoints.stopped_path(self.folder.path)
        with writing(stopped):
            stopped.unlink(missing_ok=True)

    def _state(self, epoch: int, partial: checkpoints.Partial | None, shared: SharedState) -> checkpoints.Checkpoint:
        config = to_dict(self.config)
        scaler = self.accelerator.scaler
        return checkpoints.Checkpoint(
            epoch=epoch,
            config=config,
            fingerprint=fingerprint(config),
            model=shared.model,
            ema=None if self.average is None else on_cpu(self.average.model),
            optimizer=shared.optimizer,
            scheduler=self.scheduler.state_dict(),
            scaler=scaler.state_dict() if scaler is not None else {},
            rng=checkpoints.rng_state(),
            rows=self.folder.rows,
            lines=self.folder.lines,
            sensitivity=self.folder.sensitivity_lines,
            partial=partial,
            ranks=shared.ranks,
            latency=None if self.prepared.latency is None else self.prepared.latency.to_dict(),
        )

    def write_examples(self) -> None:
        """Write what is to be looked at of the trained network, if its task has any; not of a sharded network."""
        if not self.ranks.sharded:
            model = self.model if self.average is None else self.average.model
            self.task.write_examples(self.folder.examples, model.eval(), self.dataset)

    def figures(self) -> dict[str, Any]:
        """The final figures: those of the last epoch, and the best of its metric on test images."""
        rows = self.folder.rows
        if not rows:
            return {}
        metric = self.task.metric.test
        return {
            "name": self.config.name,
            "method": self.config.method,
            "seed": self.config.seed,
            "epochs": int(rows[-1]["epoch"]),
            "test_accuracy": float(rows[-1]["test_accuracy"]),
            metric: float(rows[-1][metric]),
            f"best_{metric}": max(float(row[metric]) for row in rows),
            "gmacs": float(rows[-1]["gmacs"]),
            "parameters": int(rows[-1]["parameters"]),
            "seconds": sum(float(row["seconds"]) for row in rows),
            "fingerprint": fingerprint(to_dict(self.config)),
        }


def _steps(images: int, batch_size: int, processes: int) -> int:
    """Optimiser steps per epoch (see `Images.batches` for the last batch)."""
    full, rest = divmod(images, batch_size)
    return full + (rest >= processes if processes > 1 else rest > 0)
