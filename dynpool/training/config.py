"""Typed configuration of a run and of a comparison.

A comparison is a run's keys plus `methods`, `seeds`, `grid`, `workers` and how its report compares the methods. Files
and options are read in `dynpool.training.config_file`.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dynpool.common.names import nearest

from .config_sections import (
    ConversionConfig,
    DataConfig,
    DiffStrideConfig,
    FlexConvConfig,
    LatencyConfig,
    ModelConfig,
    NJetConfig,
    OptimizerConfig,
    RandomConfig,
    RefineConfig,
    ShapeAdaptorConfig,
    require,
)
from .grid_point import GridPoint

__all__ = ["COMPARISON_KEYS", "DESIGNED_COST", "ComparisonConfig", "RunConfig"]

DESIGNED_COST = frozenset({"human", "fixed", "refine"})
"""Methods whose cost follows from the design alone: they ignore `gmacs_budget`."""

_FOR_IMAGES = frozenset({"resized", "shape-adaptor", "diffstride", "njet", "flexconv"})
_FIXED_SIZES = DESIGNED_COST | {"scaled", "random", "resized"}


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        name: name of the run in reports.
        method: the method that determines sizes: "human", "resized", "fixed", "scaled", "random", "refine", "dynopool",
            "shape-adaptor", "diffstride", "njet", "njet+dynopool" or
            "flexconv" (see docs/howto/comparisons.md).
        seed: determines initial weights, order of the data and augmentation, the same for all methods.
        task: "classification", one class an image, judged by accuracy; or "segmentation", one class a pixel, judged by
            mean IoU (docs/howto/segmentation.md).
        model: the network.
        data: the images.
        grid_point: in a comparison, the settings that distinguish the run from others of its method and seed.
        conversion: conversion of the network by the methods that resize.
        shape_adaptor: options of the method "shape-adaptor".
        diffstride: options of the method "diffstride".
        njet: options of the methods "njet" and "njet+dynopool".
        flexconv: options of the method "flexconv".
        random: options of the method "random" and of random starts.
        refine: options of the method "refine".
        optimizer: the optimiser.
        latency: milliseconds of the network, as figures, a term of the loss, or a budget.
        epochs: passes over the training images.
        batch_size: images per step, over all processes.
        lr: learning rate of the weights.
        alpha_lr: learning rate of the learned strides alpha.
        kernel_lr: learning rate of what determines the size of a learned kernel, log2(sigma) of an N-Jet, mu and sigma
            of a FlexConv (a tenth of it, as published); it has no weight decay.
        weight_decay: L2 penalty of the weights; alphas never have one.
        momentum: momentum of the weights; 0 turns Nesterov off.
        alpha_momentum: momentum of the alphas; with an optimiser such as AdamW the first of their betas.
        alpha_until: fraction of the run during which alphas, and the sizes of kernels, are learned; then their schedule
            ends and sizes stay fixed.
        start: initial sizes of the methods that learn them, and the sizes of "fixed" and "scaled": "designed", "random"
            (those of the method "random" with the same seed and cost), or {name of a resolution: [height, width], ...},
            a number for each axis of the data; resolutions without an entry keep their designed sizes.
        start_gmacs: GMACs of random initial sizes; null: those of the designed sizes.
        gmacs_weight: weight of the GMACs term in the loss, per GMAC (Eq. 8).
        gmacs_budget: target for the GMACs, met within 2 % where whole pixels allow it; null: none. "human", "fixed" and
            "refine" ignore it. A budget out of reach is an error before training. While sizes are learned a loss term
            with `budget_weight` pulls the GMACs towards it; at `alpha_until`, which must be below 1, the sizes are set
            to the nearest ones that meet it. In a comparison {match: METHOD} stands for the final GMACs of that
            method's run with the same seed (METHOD with its grid point if it has several); in the file of a single run,
            {match: METHOD, gmacs: NUMBER} holds that number.
        budget_weight: weight of the loss term ln(GMACs / budget)^2 / 2, or of that of milliseconds; its gradient is
            that of a GMACs term whose weight grows with the distance from the budget.
        loss: "cross_entropy", or "bce" (binary cross entropy of each class against all others).
        label_smoothing: label smoothing of the loss.
        mixup: parameter of the beta distribution from which mixup draws the shares of two images; 0: no mixup. With
            `cutmix` as well, each batch is mixed by one of the two at random.
        cutmix: parameter of the beta distribution from which CutMix draws the shares of two images; 0: no CutMix.
        ema: decay of a moving average of the weights, which is tested and saved beside them; 0: none. Its alphas are
            those of the network itself.
        scheduler: "cosine" (to zero over the run), "multistep" (divided by 10 at each of `milestones`) or "constant".
        milestones: where "multistep" divides the learning rates, as fractions of the run.
        warmup_epochs: epochs over which the learning rates rise linearly from zero, up to all; may be fractional.
        precision: "no" (float32), "bf16" or "fp16".
        channels_last: use the channels_last memory format.
        compile: train the network compiled by torch.compile, as soon as its sizes no longer change: after
            `alpha_until`, which must be below 1 for methods that learn sizes.
        sync_batch_norm: in a run on several GPUs, normalise by the statistics of all images of a step (PyTorch's
            SyncBatchNorm), not by those of each process's own.
        shard: in a run of several processes, divide weights, gradients and the optimiser's state between them
            (PyTorch's `fully_shard`, FSDP2), so that larger networks fit. Checkpoints are those of whole networks.
        peer_timeout: seconds that a process of a run waits for another one that has stopped working, before the run
            ends with an error.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads of PyTorch; null: PyTorch's default. The last bits of a result depend on it.
        save_steps: also save the progress after every n-th step of an epoch, so that a killed run loses fewer; 0: only
            after every epoch.
        checkpoint_every: also keep the checkpoint of every n-th epoch; 0: only the last one.
        sensitivity_every: before the first and after every n-th epoch, append the sensitivity of the loss to the sizes,
            on 8 training batches, to sensitivity.jsonl (docs/sensitivity.md); 0: never. Results do not depend on it.
        track: experiment trackers that get the figures after every epoch and the pictures at the end: "tensorboard",
            "wandb", "mlflow", "trackio", each a package of its own; their files go to tracking/ in the run folder.
        input_size: (C, H, W), (C, L) or (C, D, H, W); follows from `data` and is filled in when the run starts.
        out: the run folder; null: runs/NAME.
    """

    name: str = "run"
    method: str = "dynopool"
    seed: int = 0
    task: Literal["classification", "segmentation"] = "classification"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    grid_point: str = ""
    conversion: ConversionConfig = field(default_factory=ConversionConfig)
    shape_adaptor: ShapeAdaptorConfig = field(default_factory=ShapeAdaptorConfig)
    diffstride: DiffStrideConfig = field(default_factory=DiffStrideConfig)
    njet: NJetConfig = field(default_factory=NJetConfig)
    flexconv: FlexConvConfig = field(default_factory=FlexConvConfig)
    random: RandomConfig = field(default_factory=RandomConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    epochs: int = 16
    batch_size: int = 64
    lr: float = 0.1
    alpha_lr: float = 0.1
    kernel_lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    alpha_momentum: float = 0.0
    alpha_until: float = 1.0
    start: Literal["designed", "random"] | dict[str, tuple[int, ...]] = "designed"
    start_gmacs: float | None = None
    gmacs_weight: float = 0.0
    gmacs_budget: float | dict[str, str | float] | None = None
    budget_weight: float = 0.1
    loss: Literal["cross_entropy", "bce"] = "cross_entropy"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    scheduler: Literal["cosine", "multistep", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    warmup_epochs: float = 0.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = False
    compile: bool = False
    sync_batch_norm: bool = False
    shard: bool = False
    peer_timeout: float = 600.0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    save_steps: int = 0
    checkpoint_every: int = 0
    sensitivity_every: int = 0
    track: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    input_size: tuple[int, ...] | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        word = self.name not in ("", ".", "..") and "/" not in self.name
        require("name", self.name, word, "a word without '/', not '.' or '..'")
        require("seed", self.seed, self.seed >= 0, "a whole number, 0 or more")
        require("epochs", self.epochs, self.epochs >= 1, "a whole number, 1 or more")
        sides = self.input_size or (1, 1)
        whole = 2 <= len(sides) <= 4 and min(sides) > 0
        require("input_size", self.input_size, whole, "null, or two to four whole numbers above 0")
        require("batch_size", self.batch_size, self.batch_size >= 1, "a whole number, 1 or more")
        for key in (
            "lr", "alpha_lr", "kernel_lr", "weight_decay", "gmacs_weight", "budget_weight", "warmup_epochs", "mixup",
            "cutmix",
        ):  # fmt: skip
            value = getattr(self, key)
            require(key, value, 0 <= value < math.inf, "a finite number, 0 or more")
        warmup = self.warmup_epochs
        require("warmup_epochs", warmup, warmup <= self.epochs, f"0 up to the number of epochs, which is {self.epochs}")
        for key in ("momentum", "alpha_momentum", "label_smoothing", "ema"):
            value = getattr(self, key)
            require(key, value, 0 <= value < 1, "a number from 0 to below 1")
        require("alpha_until", self.alpha_until, 0 < self.alpha_until <= 1, "a number above 0, up to 1")
        moving = self._learns_sizes and self.alpha_until == 1
        require("compile", self.compile, not (self.compile and moving), "false, unless alpha_until is below 1")
        alone = not (self.ema or self.compile or self.sensitivity_every or self.latency.wanted)
        require(
            "shard", self.shard, not self.shard or (alone and self.precision != "fp16"),
            "false, unless ema, compile, sensitivity_every, latency and fp16 are off",
        )  # fmt: skip
        patience = self.peer_timeout
        require("peer_timeout", patience, 1 <= patience < math.inf, "a finite number of seconds, 1 or more")
        distinct = len(set(self.track)) == len(self.track)
        require("track", self.track, distinct, "distinct names of tensorboard, wandb, mlflow, trackio")
        self._check_task()
        self._check_start()
        self._check_budget()
        require("threads", self.threads, self.threads is None or 1 <= self.threads <= 1024, "null, or 1 to 1024")
        require("out", self.out, self.out != "", "null, or the name of a folder")
        rising = list(self.milestones) == sorted(set(self.milestones))
        within = all(0 < milestone < 1 for milestone in self.milestones)
        require("milestones", self.milestones, rising and within, "rising numbers between 0 and 1")
        parts = self.optimizer.accumulate
        require(
            "optimizer.accumulate", parts, parts <= self.batch_size, f"up to batch_size, which is {self.batch_size}"
        )
        for key in ("save_steps", "checkpoint_every", "sensitivity_every"):
            require(key, getattr(self, key), getattr(self, key) >= 0, "a whole number, 0 or more")

    def _check_task(self) -> None:
        named = f"{self.data.task}, as data.name is {self.data.name!r}"
        require("task", self.task, self.task == self.data.task, named)
        if self.task == "segmentation":
            require("loss", self.loss, self.loss == "cross_entropy", "cross_entropy, as task is segmentation")
            for key in ("mixup", "cutmix"):
                require(key, getattr(self, key), not getattr(self, key), "0, as task is segmentation")

        if self.data.axes != 2:
            named = f"as data.name is {self.data.name!r}, which is not of images"
            able = self.method.partition("+")[0] not in _FOR_IMAGES
            require("method", self.method, able, f"human, fixed, scaled, random, dynopool or refine, {named}")
            for key, off in {"mixup": "0", "cutmix": "0", "channels_last": "false"}.items():
                require(key, getattr(self, key), not getattr(self, key), f"{off}, {named}")

    def _check_start(self) -> None:
        sides = [side for size in self.start.values() for side in size] if isinstance(self.start, dict) else []
        require("start", self.start, min(sides, default=2) >= 2, "sizes of at least 2 pixels a side")
        require("start", self.start, self.start != {}, "designed, random, or sizes by the names of their resolutions")
        cost = self.start_gmacs
        require("start_gmacs", cost, cost is None or 0 < cost < math.inf, "null, or a finite number above 0")
        require("start_gmacs", cost, cost is None or self.start == "random", "null unless start is random")

    def _check_budget(self) -> None:
        given = self.gmacs_budget
        if isinstance(given, dict):
            fits = {"match"} <= given.keys() <= {"match", "gmacs"} and isinstance(given["match"], str)
            require("gmacs_budget", given, fits, "null, a number, or {match: METHOD}")
        number = given.get("gmacs") if isinstance(given, dict) else given
        require("gmacs_budget", number, number is None or _is_cost(number), "null, or a finite number above 0")
        both = given is not None and self.latency.budget is not None
        require("latency.budget", self.latency.budget, not both, "null where gmacs_budget is set")
        budgeted = given is not None or self.latency.budget is not None
        require(
            "alpha_until", self.alpha_until, not (budgeted and self._learns_sizes) or self.alpha_until < 1,
            "a number below 1 if gmacs_budget or latency.budget is set, so that it trains on at its final sizes",
        )  # fmt: skip
        ceiling = self.conversion.max_gmacs
        for key, cost in (("gmacs_budget", number), ("start_gmacs", self.start_gmacs)):
            within = cost is None or ceiling is None or float(cost) <= ceiling
            require(key, cost, within, f"at most conversion.max_gmacs, which is {ceiling!r}")

    @property
    def _learns_sizes(self) -> bool:
        if self.method == "njet":
            return self.njet.learn
        if self.method == "flexconv":
            return self.flexconv.learn
        return self.method not in _FIXED_SIZES

    @property
    def match(self) -> str | None:
        """The method whose run of the same seed determines the budget; None: no such method."""
        return str(self.gmacs_budget["match"]) if isinstance(self.gmacs_budget, dict) else None

    @property
    def budget(self) -> float | None:
        """The target for the GMACs as a number; None: no target.

        Raises:
            ConfigError: if it is to match another run and a comparison has not filled in that run's cost.
        """
        given = self.gmacs_budget
        if not isinstance(given, dict):
            return given
        allowed = "a number, or null, in a run of its own: only `dynpool compare` knows the run to match"
        require("gmacs_budget", given, given.get("gmacs") is not None, allowed)
        return float(given["gmacs"])

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out) if self.out is not None else Path("runs") / self.name


@dataclass(frozen=True)
class ComparisonConfig(RunConfig):
    """A comparison: the keys of a run, trained for every method and seed.

    Attributes:
        methods: the methods to compare.
        seeds: the seeds that each method is trained with.
        grid: {method: {key: value or list of values}}: settings of single methods. A list trains the method at each of
            its values, several lists at each combination. Keys of sections have dots, such as data.resolution.
        workers: number of runs trained in parallel; null: one per CPU core, or one if there is a GPU.
        pairs: [[method, baseline], ...]: the pairs that the report tests, corrected for their number; a method with
            several grid points is written as in the report. "all": each against each. null: every method against the
            first, and every method against those that match its cost.
        equivalence_margin: the report calls methods equivalent if they differ by less than this, in points of accuracy.
        executor: "local" (processes of this machine) or "ray" (tasks of a Ray cluster, whose nodes share the folder
            `out`).
        address: of the Ray cluster; null: that of RAY_ADDRESS, or one of this machine alone.
        gpus_per_run: GPUs that Ray gives each run, may be a fraction; null: one if the cluster has any and `device` is
            not cpu.
        storage: fsspec URL, such as s3://bucket/folder, to which runs are copied after each checkpoint and from which
            they continue, so that nodes of Ray need not share `out`; null: they do.
        retries: how often Ray starts a run again that was lost with its node; it continues from its last checkpoint.
    """

    methods: tuple[str, ...] = ("human", "dynopool")
    seeds: tuple[int, ...] = (0, 1, 2)
    grid: dict[str, dict[str, Any]] = field(default_factory=dict)
    workers: int | None = None
    pairs: Literal["all"] | tuple[tuple[str, str], ...] | None = None
    equivalence_margin: float = 1.0
    executor: Literal["local", "ray"] = "local"
    address: str | None = None
    gpus_per_run: float | None = None
    storage: str | None = None
    retries: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require("methods", self.methods, 0 < len(set(self.methods)) == len(self.methods), "distinct names, one or more")
        require(
            "seeds", self.seeds, 0 < len(set(self.seeds)) == len(self.seeds) and min(self.seeds) >= 0,
            "distinct whole numbers, 0 or more",
        )  # fmt: skip
        require("workers", self.workers, self.workers is None or self.workers >= 1, "null, or 1 or more")
        for method, keys in self.grid.items():
            near = nearest(method, self.methods).removesuffix("?").partition("; did you mean ")[2]
            what = f"the methods compared: {', '.join(self.methods)}{f' (did you mean {near}?)' * bool(near)}"
            require("grid", method, method in self.methods, what)
            for key, value in keys.items():
                require(f"grid.{method}.{key}", value, value != [], "a value, or a list of one or more")
        margin = self.equivalence_margin
        require("equivalence_margin", margin, 0 < margin < math.inf, "a finite number of points above 0")
        gpus = self.gpus_per_run
        require("gpus_per_run", gpus, gpus is None or 0 <= gpus < math.inf, "null, or a finite number, 0 or more")
        require("retries", self.retries, self.retries >= 0, "a whole number, 0 or more")
        for key in ("address", "gpus_per_run", "storage"):
            value = getattr(self, key)
            require(key, value, value is None or self.executor == "ray", "null, unless executor is ray")
            require(key, value, value != "", "null, or not empty")
        self._check_pairs()

    def _check_pairs(self) -> None:
        groups = [point.group for point in self.points()]
        if self.pairs == "all":
            require("pairs", self.pairs, len(groups) > 1, "null, as there is only one group of runs")
            return
        pairs = self.pairs or ()
        require("pairs", self.pairs, self.pairs != () and len(set(pairs)) == len(pairs), "null, all, or distinct pairs")
        for pair in pairs:
            require("pairs", pair, pair[0] != pair[1] and set(pair) <= set(groups), f"two of {', '.join(groups)}")

    @property
    def tested_pairs(self) -> tuple[tuple[str, str], ...] | None:
        """The pairs that the report tests, (group, baseline); None: the usual ones."""
        if self.pairs != "all":
            return self.pairs
        groups = [point.group for point in self.points()]
        return tuple((later, earlier) for earlier, later in itertools.combinations(groups, 2))

    @property
    def _learns_sizes(self) -> bool:
        return False  # of itself: its runs are checked one by one

    def points(self) -> list[GridPoint]:
        """All grid points, method by method."""
        points = []
        for method in self.methods:
            keys = self.grid.get(method, {})
            lists = {key: value if isinstance(value, list) else [value] for key, value in keys.items()}
            varied = tuple(key for key, values in lists.items() if len(values) > 1)
            points += [
                GridPoint(method, dict(zip(lists, combination, strict=True)), varied)
                for combination in itertools.product(*lists.values())
            ]
        return points


COMPARISON_KEYS = frozenset(f.name for f in dataclasses.fields(ComparisonConfig)) - {
    f.name for f in dataclasses.fields(RunConfig)
}


def _is_cost(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
