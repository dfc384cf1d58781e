"""Typed configuration of a run and of a comparison, and what it means that two configurations are the same.

A comparison is a run's keys plus `methods`, `seeds`, `grid` and `workers`. Files and options are read in
`dynpool.training.config_file`.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dynpool.common.names import nearest

from .errors import ConfigError

__all__ = [
    "COMPARISON_KEYS",
    "ComparisonConfig",
    "ConversionConfig",
    "DataConfig",
    "DiffStrideConfig",
    "GridPoint",
    "ModelConfig",
    "RandomConfig",
    "RefineConfig",
    "RunConfig",
    "ShapeAdaptorConfig",
    "changed_keys",
    "fingerprint",
    "nearest",
    "to_dict",
]

Variant = Literal["plain", "stretch", "tile", "large", "canvas"]


@dataclass(frozen=True)
class DataConfig:
    """Which images, in which form.

    Attributes:
        name: "digits" (scikit-learn's handwritten digits, embedded), "cifar10", "cifar100" or "folder" (any image
            tree).
        variant: the papers' controlled variant: "plain", "stretch" (enlarged), "tile", "large" or "canvas".
        resolution: side of the square input image in pixels.
        channels: 1 or 3; null keeps what the dataset has.
        root: folder of the images: for CIFAR the one torchvision uses, for "folder" the one with train/ and test/.
        download: let torchvision fetch a missing CIFAR; nothing is ever fetched otherwise.
        cache: folder of the decoded images; null is $XDG_CACHE_HOME/dynpool or ~/.cache/dynpool.
        test_fraction: part of the digits held out for the test, per class.
        shift: augmentation: images move by up to this many pixels per axis, black coming in.
        flip: augmentation: half of the images are mirrored left to right.
    """

    name: Literal["digits", "cifar10", "cifar100", "folder"] = "digits"
    variant: Variant = "plain"
    resolution: int = 32
    channels: int | None = None
    root: str | None = None
    download: bool = False
    cache: str | None = None
    test_fraction: float = 0.25
    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        _require("data.resolution", self.resolution, 4 <= self.resolution <= 4096, "a whole number from 4 to 4096")
        _require("data.channels", self.channels, self.channels in (None, 1, 3), "null, 1 or 3")
        _require("data.test_fraction", self.test_fraction, 0 < self.test_fraction < 1, "a number between 0 and 1")
        _require("data.shift", self.shift, 0 <= self.shift < self.resolution, "0 or more, below the resolution")
        multiple = {"plain": 1, "stretch": 1, "tile": 4, "large": 2, "canvas": 2}[self.variant]
        _require(
            "data.resolution", self.resolution, self.resolution % multiple == 0,
            f"a multiple of {multiple} for the variant {self.variant!r}",
        )  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: "narrow-vgg", "cifar-vgg16", "cifar-resnet", "cifar-mobilenetv2", "hrnet-segmentation", a name of timm or
            torchvision ("torchvision:NAME" where both have it), or your own as "package.module:callable".
        options: keyword arguments of its factory.
    """

    name: str = "narrow-vgg"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ConversionConfig:
    """How the methods that resize convert the network (arguments of `dynpool.convert`).

    Attributes:
        order: "after" (the paper's: convolve at stride 1, then resize) or "before" (resize first: cheaper).
        preserve: keep the function of a pretrained network exactly where possible.
        max_gmacs: hard ceiling on the converted network's GMACs; null is none.
    """

    order: Literal["after", "before"] = "after"
    preserve: bool = False
    max_gmacs: float | None = None

    def __post_init__(self) -> None:
        ceiling = self.max_gmacs
        allowed = ceiling is None or 0 < ceiling < math.inf
        _require("conversion.max_gmacs", ceiling, allowed, "null, or a finite number above 0")


@dataclass(frozen=True)
class ShapeAdaptorConfig:
    """Options of the method "shape-adaptor" (Liu et al., ECCV 2020; see `dynpool.baselines.shape_adaptor_network`).

    Attributes:
        mode: "autotl" (in place of the network's own resizers, as DynOPool), "standard" (spread over the layers, own
            resizers removed) or "autosc" (own resizers kept, adaptors that shrink a little besides).
        every: optimiser steps to one update of the alphas; the paper has 20.
        limit: largest side in pixels behind the last adaptor, which bounds memory; null is none.
    """

    mode: Literal["autotl", "standard", "autosc"] = "autotl"
    every: int = 20
    limit: float | None = None

    def __post_init__(self) -> None:
        _require("shape_adaptor.every", self.every, self.every >= 1, "a whole number, 1 or more")
        _require("shape_adaptor.limit", self.limit, self.limit is None or self.limit >= 1, "null, or 1 or more")


@dataclass(frozen=True)
class DiffStrideConfig:
    """Options of the method "diffstride" (Riad et al., ICLR 2022).

    Attributes:
        smoothness: width R of the mask's slopes in frequencies.
        symmetric: treat positive and negative frequencies of the rows alike, other than the published window.
    """

    smoothness: float = 4.0
    symmetric: bool = False

    def __post_init__(self) -> None:
        _require("diffstride.smoothness", self.smoothness, 0 < self.smoothness < math.inf, "a finite number above 0")


@dataclass(frozen=True)
class RandomConfig:
    """Options of the method "random": sizes drawn at random, equal in GMACs to what they are compared with.

    Attributes:
        spread: strides are drawn between 1 / spread and spread times the designed ones, uniformly in the logarithm.
    """

    spread: float = 2.0

    def __post_init__(self) -> None:
        _require("random.spread", self.spread, 1 < self.spread < math.inf, "a finite number above 1")


@dataclass(frozen=True)
class RefineConfig:
    """Options of the method "refine" (Richter and Pal).

    Attributes:
        way: "less downsampling" (edit strides) or "shorter and wider" (remove unproductive blocks, widen the others).
    """

    way: Literal["less downsampling", "shorter and wider"] = "less downsampling"


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        name: what the run is called in reports.
        method: how resolutions are chosen: "human", "fixed", "random", "refine", "dynopool", "shape-adaptor" or
            "diffstride" (see the README).
        seed: initial weights, order of the data and augmentation follow from it, alike for every method.
        model: the network.
        data: the images.
        grid_point: what tells the run from others of its method and seed in a comparison with a grid.
        conversion: how the methods that resize convert the network.
        shape_adaptor: options of the method "shape-adaptor".
        diffstride: options of the method "diffstride".
        random: options of the method "random".
        refine: options of the method "refine".
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        lr: learning rate of the weights (SGD with Nesterov momentum).
        alpha_lr: learning rate of the learned strides alpha.
        weight_decay: L2 penalty of the weights; alphas never have one.
        momentum: momentum of the weights; 0 turns Nesterov off.
        alpha_momentum: momentum of the alphas.
        alpha_until: part of the run in which alphas are learned: their schedule ends there, sizes stay from then on.
        gmacs_weight: weight of the GMACs term in the loss, per GMAC (Eq. 8).
        gmacs_budget: GMACs that learned (or random) sizes are to cost, within 2 %; null leaves them free, and methods
            of given sizes ignore it. One beyond the bounds of the sizes is an error before training. While sizes
            are learned, `budget_weight` pulls them there; when `alpha_until` is reached, which must be below 1, they
            are set to the nearest sizes of that cost.
        budget_weight: weight of the pull, per (natural logarithm of GMACs over budget)^2 / 2; its gradient is that of
            a GMACs term whose weight grows with the distance from the budget.
        label_smoothing: label smoothing of the cross entropy.
        scheduler: "cosine" (to zero over the run), "multistep" (a tenth at 1/2 and 3/4 of the run) or "constant".
        warmup_epochs: epochs over which the learning rates rise linearly from zero; may be fractional.
        precision: "no" (float32), "bf16" or "fp16".
        channels_last: keep images in the channels_last memory format.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads of PyTorch; null keeps its choice. The last bits of a result depend on it.
        checkpoint_every: also keep the checkpoint of every so many epochs; 0 keeps the last one only.
        input_size: (C, H, W); follows from `data`, filled in when the run starts.
        out: the run's folder; null is runs/NAME.
    """

    name: str = "run"
    method: str = "dynopool"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    grid_point: str = ""
    conversion: ConversionConfig = field(default_factory=ConversionConfig)
    shape_adaptor: ShapeAdaptorConfig = field(default_factory=ShapeAdaptorConfig)
    diffstride: DiffStrideConfig = field(default_factory=DiffStrideConfig)
    random: RandomConfig = field(default_factory=RandomConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    epochs: int = 16
    batch_size: int = 64
    lr: float = 0.1
    alpha_lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    alpha_momentum: float = 0.0
    alpha_until: float = 1.0
    gmacs_weight: float = 0.0
    gmacs_budget: float | None = None
    budget_weight: float = 0.1
    label_smoothing: float = 0.0
    scheduler: Literal["cosine", "multistep", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    channels_last: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    checkpoint_every: int = 0
    input_size: tuple[int, int, int] | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        _require("name", self.name, bool(self.name) and "/" not in self.name, "a word without '/'")
        _require("seed", self.seed, self.seed >= 0, "a whole number, 0 or more")
        _require("epochs", self.epochs, self.epochs >= 1, "a whole number, 1 or more")
        _require("batch_size", self.batch_size, self.batch_size >= 1, "a whole number, 1 or more")
        for key in ("lr", "alpha_lr", "weight_decay", "gmacs_weight", "budget_weight", "warmup_epochs"):
            value = getattr(self, key)
            _require(key, value, 0 <= value < math.inf, "a finite number, 0 or more")
        for key in ("momentum", "alpha_momentum", "label_smoothing"):
            value = getattr(self, key)
            _require(key, value, 0 <= value < 1, "a number from 0 to below 1")
        _require("alpha_until", self.alpha_until, 0 < self.alpha_until <= 1, "a number above 0, up to 1")
        budget = self.gmacs_budget
        _require("gmacs_budget", budget, budget is None or 0 < budget < math.inf, "null, or a finite number above 0")
        _require(
            "alpha_until", self.alpha_until, budget is None or self.alpha_until < 1,
            "a number below 1 where gmacs_budget is set, so that the network trains on at its final sizes",
        )  # fmt: skip
        ceiling = self.conversion.max_gmacs
        _require(
            "gmacs_budget", budget, budget is None or ceiling is None or budget <= ceiling,
            f"at most conversion.max_gmacs, which is {ceiling!r}",
        )  # fmt: skip
        _require("threads", self.threads, self.threads is None or self.threads >= 1, "null, or 1 or more")
        _require("checkpoint_every", self.checkpoint_every, self.checkpoint_every >= 0, "a whole number, 0 or more")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out) if self.out is not None else Path("runs") / self.name


@dataclass(frozen=True)
class GridPoint:
    """One point of a comparison's grid: a method, and the values of the keys in which it departs from the others.

    Attributes:
        method: the method.
        values: {key: value}, keys with dots for sections.
        varied: the keys among them that have several values, so that they tell the method's points apart.
    """

    method: str
    values: Mapping[str, Any] = field(default_factory=dict)
    varied: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The varied keys and values in words, e.g. 'gmacs_budget=0.001'; empty if there is only one point."""
        return " ".join(f"{key}={self.values[key]}" for key in self.varied)

    def name(self, seed: int) -> str:
        """The name of the run and of its folder."""
        parts = [self.method, *(f"{key}={self.values[key]}" for key in self.varied), f"seed{seed}"]
        return re.sub(r"[^\w.=+-]+", "_", "-".join(parts))


@dataclass(frozen=True)
class ComparisonConfig(RunConfig):
    """A comparison: the keys of a run, trained for every method and seed.

    Attributes:
        methods: the methods compared.
        seeds: the seeds each method is trained with.
        grid: {method: {key: value or list of values}}: what a method sets otherwise than the others; a list trains it
            once for each of its values, several lists for each combination. Keys of sections have dots, such as
            data.resolution.
        workers: runs trained at the same time; null is one a CPU core, or one where there is a GPU.
    """

    methods: tuple[str, ...] = ("human", "dynopool")
    seeds: tuple[int, ...] = (0, 1, 2)
    grid: dict[str, dict[str, Any]] = field(default_factory=dict)
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            "methods", self.methods, 0 < len(set(self.methods)) == len(self.methods), "distinct names, one or more"
        )
        _require(
            "seeds", self.seeds, 0 < len(set(self.seeds)) == len(self.seeds) and min(self.seeds) >= 0,
            "distinct whole numbers, 0 or more",
        )  # fmt: skip
        _require("workers", self.workers, self.workers is None or self.workers >= 1, "null, or 1 or more")
        for method, keys in self.grid.items():
            _require("grid", method, method in self.methods, f"the methods compared: {', '.join(self.methods)}")
            for key, value in keys.items():
                _require(f"grid.{method}.{key}", value, value != [], "a value, or a list of one or more")

    def points(self) -> list[GridPoint]:
        """The points of the grid, method by method."""
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

# Keys that may differ when a run is continued: they say where and how it runs, not what is computed.
MOVABLE_KEYS = frozenset(
    {
        "name",
        "grid_point",
        "out",
        "device",
        "checkpoint_every",
        "data.root",
        "data.download",
        "data.cache",
        "threads",
        "input_size",
    }
)


def _require(key: str, value: Any, allowed: bool, what: str) -> None:
    if not allowed:
        raise ConfigError(f"{key} is {value!r}; allowed: {what}", key)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain dicts and lists, as it stands in YAML and JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys in which two configurations would compute something else, as 'key: old -> new' (see `MOVABLE_KEYS`).

    `epochs` may grow where the learning rate does not depend on it (`scheduler: constant`).
    """
    before, after = _flatten(old), _flatten(new)
    constant = before.get("scheduler") == after.get("scheduler") == "constant"
    changed = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key), after.get(key)
        if a == b or key in MOVABLE_KEYS or (key == "epochs" and constant and (b or 0) > (a or 0)):
            continue
        changed.append(f"{key}: {a!r} -> {b!r}")
    return changed


def fingerprint(config: Mapping[str, Any]) -> str:
    """SHA-256 over all keys that decide what is computed: where it is equal, so are the numbers of one machine."""
    kept = {k: v for k, v in _flatten(config).items() if k not in MOVABLE_KEYS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and prefix + key != "model.options":
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
