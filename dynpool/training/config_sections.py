"""The sections of a run's configuration: each key, its default, what is allowed."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from .data_config import DataConfig
from .errors import require

__all__ = [
    "ConversionConfig",
    "DataConfig",
    "DiffStrideConfig",
    "FlexConvConfig",
    "LatencyConfig",
    "ModelConfig",
    "NJetConfig",
    "OptimizerConfig",
    "RandomConfig",
    "RefineConfig",
    "ShapeAdaptorConfig",
    "require",
]

OWN_KEYS = {  # of a run, in place of options of timm's
    "lr": "lr", "weight_decay": "weight_decay", "momentum": "momentum", "layer_decay": "optimizer.layer_decay",
    "param_group_fn": "optimizer.decay_vectors", "filter_bias_and_bn": "optimizer.decay_vectors",
}  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        name: "narrow-vgg", "cifar-vgg", "cifar-vgg16", "cifar-resnet", "cifar-mobilenetv2", for segmentation
            "hrnet-segmentation" or "unet", a model of timm or torchvision ("torchvision:NAME" if both have it), or your
            own as "package.module:callable", which is called with num_classes=, in_channels= and the options.
        options: further keyword arguments of its factory.
    """

    name: str = "narrow-vgg"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser of weights and alphas; alphas have no weight decay and a learning rate of their own.

    Attributes:
        name: "sgd" (with Nesterov momentum), or any of timm's optimisers, such as "adamw", "lamb" or "lion".
        options: further keyword arguments of the optimiser, such as {betas: [0.9, 0.95]}.
        layer_decay: learning rate of a layer / that of the layer behind it, with the layers as timm groups them; 1: all
            have the same.
        decay_vectors: apply the weight decay to biases and to the gains of normalisation layers as well.
        clip_norm: largest norm of the gradient of all weights together, to which a larger one is scaled; alphas are
            neither counted nor scaled; null: any.
        accumulate: number of parts into which each batch is split, so that it fits into memory; they are passed one
            after the other (gradient accumulation). Batch norm normalises by the images of a part.
    """

    name: str = "sgd"
    options: dict[str, Any] = field(default_factory=dict)
    layer_decay: float = 1.0
    decay_vectors: bool = True
    clip_norm: float | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        taken = sorted(OWN_KEYS.keys() & self.options.keys())
        instead = " and ".join(OWN_KEYS[name] for name in taken)
        require("optimizer.options", self.options, not taken, f"options without {', '.join(taken)}: set {instead}")
        decay = self.layer_decay
        require("optimizer.layer_decay", decay, 0 < decay <= 1, "a number above 0, up to 1")
        clip = self.clip_norm
        require("optimizer.clip_norm", clip, clip is None or 0 < clip < math.inf, "null, or a finite number above 0")
        require("optimizer.accumulate", self.accumulate, self.accumulate >= 1, "a whole number, 1 or more")


@dataclass(frozen=True)
class ConversionConfig:
    """Conversion of the network by the methods that resize (arguments of `dynpool.convert`).

    Attributes:
        order: "after" (as in the paper: convolve at stride 1, then resize) or "before" (resize first: cheaper).
        preserve: keep the function of a pretrained network exactly where possible.
        max_gmacs: hard ceiling on the converted network's GMACs; null: none.
    """

    order: Literal["after", "before"] = "after"
    preserve: bool = False
    max_gmacs: float | None = None

    def __post_init__(self) -> None:
        ceiling = self.max_gmacs
        allowed = ceiling is None or 0 < ceiling < math.inf
        require("conversion.max_gmacs", ceiling, allowed, "null, or a finite number above 0")


@dataclass(frozen=True)
class LatencyConfig:
    """Milliseconds of a pass of the network on the device of the run (`dynpool.LatencyModel`).

    It is that of the network in eval mode, in float32 whatever the `precision` of the run.

    Attributes:
        measure: measure the network after every epoch: the column `latency_ms` of metrics.csv and of reports. A weight
            or a budget implies it.
        weight: weight of a term of the loss, per predicted millisecond, for methods that learn sizes.
        budget: target in milliseconds for methods that learn sizes, met as predicted; like `gmacs_budget`, whose place
            it takes: a loss term with `budget_weight` pulls the latency towards it, and at `alpha_until`, which must be
            below 1, the sizes are set to the nearest ones that meet it. null: none.
        batch: images in a pass, whose milliseconds count.
        configurations: sets of sizes that are measured at the start of the run, from which others are predicted; 4 or
            more.
        repeats: passes at each of them, of which the median counts; also after every epoch.
    """

    measure: bool = False
    weight: float = 0.0
    budget: float | None = None
    batch: int = 1
    configurations: int = 16
    repeats: int = 5

    def __post_init__(self) -> None:
        require("latency.weight", self.weight, 0 <= self.weight < math.inf, "a finite number, 0 or more")
        budget = self.budget
        require("latency.budget", budget, budget is None or 0 < budget < math.inf, "null, or a finite number above 0")
        for key, least in (("batch", 1), ("configurations", 4), ("repeats", 1)):
            value = getattr(self, key)
            require(f"latency.{key}", value, value >= least, f"a whole number, {least} or more")

    @property
    def wanted(self) -> bool:
        """Whether the network is measured at all."""
        return self.measure or self.weight > 0 or self.budget is not None


@dataclass(frozen=True)
class ShapeAdaptorConfig:
    """Options of the method "shape-adaptor" (Liu et al., ECCV 2020; see `dynpool.baselines.shape_adaptor_network`).

    Attributes:
        mode: "autotl" (adaptors replace the network's own resizers, as DynOPool does), "standard" (adaptors uniformly
            over the layers, own resizers removed) or "autosc" (own resizers kept, additional adaptors).
        every: optimiser steps per update of the alphas; 20 in the paper.
        limit: largest side in pixels after the last adaptor, which bounds memory; null: none.
        published: adaptors and initial alphas as in the authors' code (docs/baselines.md).
    """

    mode: Literal["autotl", "standard", "autosc"] = "autotl"
    every: int = 20
    limit: float | None = None
    published: bool = False

    def __post_init__(self) -> None:
        require("shape_adaptor.every", self.every, self.every >= 1, "a whole number, 1 or more")
        require("shape_adaptor.limit", self.limit, self.limit is None or self.limit >= 1, "null, or 1 or more")


@dataclass(frozen=True)
class DiffStrideConfig:
    """Options of the method "diffstride" (Riad et al., ICLR 2022).

    Attributes:
        smoothness: width R of the mask's ramps, in frequencies.
        symmetric: give positive and negative frequencies the same gain, unlike the published window.
        published: lower bounds and sizes as in the authors' code (docs/baselines.md); not with symmetric.
    """

    smoothness: float = 4.0
    symmetric: bool = False
    published: bool = False

    def __post_init__(self) -> None:
        require("diffstride.smoothness", self.smoothness, 0 < self.smoothness < math.inf, "a finite number above 0")
        allowed = not (self.published and self.symmetric)
        require("diffstride.published", self.published, allowed, "false where diffstride.symmetric is true")


@dataclass(frozen=True)
class NJetConfig:
    """Options of the methods "njet" and "njet+dynopool" (Pintea et al., IEEE TIP 2021; see
    `dynpool.baselines.njet_network`).

    Attributes:
        order: highest order of a Gaussian derivative.
        sigma: initial scale in pixels.
        sigmas: number of scales of a layer.
        truncate: half-width of a kernel in units of sigma.
        learn: learn sigma; false: the control with kernels of a fixed size.
        subsample: subsampling of a map by max(1, sigma / this number), for networks whose paths need not agree in size;
            null: none. Not with "njet+dynopool".
        published: initial coefficients and subsampling as published.
    """

    order: int = 3
    sigma: float = 1.0
    sigmas: int = 1
    truncate: float = 2.0
    learn: bool = True
    subsample: float | None = None
    published: bool = False

    def __post_init__(self) -> None:
        require("njet.order", self.order, self.order >= 0, "a whole number, 0 or more")
        require("njet.sigmas", self.sigmas, self.sigmas >= 1, "a whole number, 1 or more")
        for key in ("sigma", "truncate"):
            value = getattr(self, key)
            require(f"njet.{key}", value, 0 < value < math.inf, "a finite number above 0")
        rate = self.subsample
        require("njet.subsample", rate, rate is None or 0 < rate < math.inf, "null, or a finite number above 0")


@dataclass(frozen=True)
class FlexConvConfig:
    """Options of the method "flexconv" (Romero et al., ICLR 2022; see `dynpool.baselines.flexconv_network`).

    Attributes:
        largest: points of the largest kernel, an odd number; null: the pixels of each layer's map, made odd.
        sigma: initial standard deviation of the mask, on kernels from -1 to 1; null: that of each layer's own kernel.
        threshold: value of the mask below which kernels are cropped.
        hidden: width of the network that a kernel is sampled from.
        filters: number of its Gabor filters.
        scale: initial scale of its frequencies.
        learn: learn the mask; false: the control with kernels of a fixed size.
        antialias: weight of the anti-aliasing loss (`dynpool.baselines.antialiasing_loss`); 0: none.
        antialias_mask: whether that loss counts the frequencies of the mask, too, and so presses for larger kernels.
        published: as in the authors' code: no bounds of the mask, and that loss filter by filter (docs/baselines.md).
    """

    largest: int | None = None
    sigma: float | None = None
    threshold: float = 0.1
    hidden: int = 32
    filters: int = 4
    scale: float = 25.6
    learn: bool = True
    antialias: float = 0.1
    antialias_mask: bool = False
    published: bool = False

    def __post_init__(self) -> None:
        odd = self.largest is None or (self.largest >= 3 and self.largest % 2 == 1)
        require("flexconv.largest", self.largest, odd, "null, or an odd number of at least 3")
        sigma = self.sigma
        require("flexconv.sigma", sigma, sigma is None or 0 < sigma < math.inf, "null, or a finite number above 0")
        require("flexconv.threshold", self.threshold, 0 < self.threshold < 1, "a number between 0 and 1")
        for key in ("hidden", "filters"):
            require(f"flexconv.{key}", getattr(self, key), getattr(self, key) >= 1, "a whole number, 1 or more")
        require("flexconv.scale", self.scale, 0 < self.scale < math.inf, "a finite number above 0")
        require("flexconv.antialias", self.antialias, 0 <= self.antialias < math.inf, "a finite number, 0 or more")


@dataclass(frozen=True)
class RandomConfig:
    """Options of the method "random": random sizes with the GMACs of the human design or of `gmacs_budget`.

    Attributes:
        spread: strides are log-uniform between 1 / spread and spread times the designed ones.
    """

    spread: float = 2.0

    def __post_init__(self) -> None:
        require("random.spread", self.spread, 1 < self.spread < math.inf, "a finite number above 1")


@dataclass(frozen=True)
class RefineConfig:
    """Options of the method "refine" (Richter and Pal).

    Attributes:
        way: "less downsampling" (edit strides) or "shorter and wider" (remove blocks, widen the others).
    """

    way: Literal["less downsampling", "shorter and wider"] = "less downsampling"
