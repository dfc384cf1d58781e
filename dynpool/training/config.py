"""Typed configuration of a run and of a comparison: a YAML file first, then the command line.

One file format serves both: a comparison is a run's keys plus `methods`, `seeds` and `workers`, which a single run
leaves aside. Every key of the file and every option is checked against the dataclasses below.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import jsonargparse
import yaml

from dynpool.training.errors import ConfigError

__all__ = [
    "ComparisonConfig",
    "DataConfig",
    "DynopoolConfig",
    "ModelConfig",
    "RunConfig",
    "changed_keys",
    "fingerprint",
    "load_config",
    "make_parser",
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
        variant: the papers' controlled variant (see `dynpool.training.variants`).
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
        name: a name of `dynpool.training.models.MODELS`, "timm:NAME", "torchvision:NAME" or "package.module:callable".
        options: keyword arguments of its factory.
    """

    name: str = "narrow-vgg"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DynopoolConfig:
    """How the method "dynopool" converts the network (arguments of `dynpool.convert`).

    Attributes:
        order: "after" (the paper's: convolve at stride 1, then resize) or "before" (resize first: cheaper).
        preserve: keep the function of a pretrained network exactly where possible.
        max_gmacs: hard ceiling on the converted network's GMACs; null is none.
    """

    order: Literal["after", "before"] = "after"
    preserve: bool = False
    max_gmacs: float | None = None


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        name: what the run is called in reports.
        method: how resolutions are chosen: a name of `dynpool.training.methods.METHODS`.
        seed: initial weights, order of the data and augmentation follow from it, alike for every method.
        model: the network.
        data: the images.
        dynopool: options of the method "dynopool".
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        lr: learning rate of the weights (SGD with Nesterov momentum).
        alpha_lr: learning rate of the learned strides alpha.
        weight_decay: L2 penalty of the weights; alphas never have one.
        momentum: momentum of the weights; 0 turns Nesterov off.
        alpha_momentum: momentum of the alphas.
        alpha_until: part of the run in which alphas are learned: their schedule ends there, sizes stay from then on.
        gmacs_weight: weight of the GMACs term in the loss, per GMAC (Eq. 8).
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
    dynopool: DynopoolConfig = field(default_factory=DynopoolConfig)
    epochs: int = 16
    batch_size: int = 64
    lr: float = 0.1
    alpha_lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    alpha_momentum: float = 0.0
    alpha_until: float = 1.0
    gmacs_weight: float = 0.0
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
        for key in ("lr", "alpha_lr", "weight_decay", "gmacs_weight", "warmup_epochs"):
            value = getattr(self, key)
            _require(key, value, 0 <= value < math.inf, "a finite number, 0 or more")
        for key in ("momentum", "alpha_momentum", "label_smoothing"):
            value = getattr(self, key)
            _require(key, value, 0 <= value < 1, "a number from 0 to below 1")
        _require("alpha_until", self.alpha_until, 0 < self.alpha_until <= 1, "a number above 0, up to 1")
        _require("threads", self.threads, self.threads is None or self.threads >= 1, "null, or 1 or more")
        _require("checkpoint_every", self.checkpoint_every, self.checkpoint_every >= 0, "a whole number, 0 or more")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.out) if self.out is not None else Path("runs") / self.name


@dataclass(frozen=True)
class ComparisonConfig(RunConfig):
    """A comparison: the keys of a run, trained for every method and seed.

    Attributes:
        methods: the methods compared.
        seeds: the seeds each method is trained with.
        workers: runs trained at the same time; null is one a CPU core, or one where there is a GPU.
    """

    methods: tuple[str, ...] = ("human", "dynopool")
    seeds: tuple[int, ...] = (0, 1, 2)
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

    def run(self, method: str, seed: int) -> RunConfig:
        """The configuration of one run of the comparison; its folder is <comparison>/<method>-seed<seed>."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(RunConfig)}
        name = f"{method}-seed{seed}"
        return RunConfig(**values | {"name": name, "method": method, "seed": seed, "out": str(self.folder / name)})


COMPARISON_KEYS = frozenset(f.name for f in dataclasses.fields(ComparisonConfig)) - {
    f.name for f in dataclasses.fields(RunConfig)
}

# Keys that may differ when a run is continued: they say where and how it runs, not what is computed.
MOVABLE_KEYS = frozenset(
    {"name", "out", "device", "checkpoint_every", "data.root", "data.download", "data.cache", "threads", "input_size"}
)

C = TypeVar("C", bound=RunConfig)


def _require(key: str, value: Any, allowed: bool, what: str) -> None:
    if not allowed:
        raise ConfigError(f"{key} is {value!r}; allowed: {what}")


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the known word closest to `word`, else the list of known words."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not close:  # a key given without its section, or with the wrong one
        last = word.rsplit(".", 1)[-1]
        close = [k for k in known if k.rsplit(".", 1)[-1] == last][:1]
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


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


def _sections(kind: type) -> dict[str, type | None]:
    """{key: dataclass of the section, or None for a plain key}."""
    hints = get_type_hints(kind)
    return {
        f.name: hints[f.name] if dataclasses.is_dataclass(hints[f.name]) else None for f in dataclasses.fields(kind)
    }


def _known_keys(kind: type, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, section in _sections(kind).items():
        keys += [prefix + key] if section is None else _known_keys(section, f"{prefix}{key}.")
    return keys


def _check_keys(values: Any, kind: type, where: Path, prefix: str = "") -> None:
    if not isinstance(values, dict):
        name = f"{prefix[:-1]} is {values!r}; allowed: " if prefix else "the file holds no configuration: it must be "
        raise ConfigError(f"{where}: {name}a mapping of keys to values")
    sections = _sections(kind)
    for key, value in values.items():
        full = f"{prefix}{key}"
        if key not in sections:
            known = [prefix + k for k in sections] + [k for k in _known_keys(kind, prefix) if k not in sections]
            raise ConfigError(f"{where}: unknown key {full!r}{nearest(full, known)}")
        section = sections[key]
        if section is not None:
            _check_keys(value, section, where, f"{full}.")
        elif value is None and type(None) not in get_args(get_type_hints(kind)[key]):
            raise ConfigError(f"{where}: {full} is null; allowed: {_allowed(get_type_hints(kind)[key])}")


def _allowed(hint: Any) -> str:
    """A type in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (Union, UnionType):
        return "null or " + " or ".join(_allowed(a) for a in args if a is not type(None))
    if origin is tuple:
        count = "" if args[-1] is Ellipsis else f"{len(args)} "
        return f"a list of {count}{_allowed(args[0]).removeprefix('a ')}s"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(hint, "a mapping of keys to values")


def _plain(message: str, kind: type) -> str:
    """A message of the parser as 'KEY is VALUE; allowed: TYPE', where it is about a value."""
    found = re.search(r'Parser key "([\w.]+)":.*(?:Got value|Given value): (.*?)$', message, re.DOTALL)
    if not found:
        return " ".join(message.split())
    hint: Any = kind
    for part in found[1].split("."):
        hint = get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else None
    return f"{found[1]} is {found[2].strip()!r}; allowed: {_allowed(hint)}"


def _check_options(overrides: Sequence[str], kind: type) -> None:
    known = [*_known_keys(kind), "resume", "overwrite", "help", "config", "print_config"]
    for word in overrides:
        if word == "--":
            break
        if not word.startswith("--"):
            continue
        key = word[2:].split("=", 1)[0]
        if key not in known and key not in _sections(kind) and not key.startswith("model.options."):
            raise ConfigError(
                f"unknown option {word.split('=', 1)[0]!r}{nearest('--' + key, ['--' + k for k in known])}"
            )


class _UniqueLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises `ConfigError` naming the file when it is missing or no YAML."""
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, _UniqueLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such configuration file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def make_parser(kind: type[C], command: str) -> jsonargparse.ArgumentParser:
    """The option parser of a command that takes a configuration of the given kind."""
    parser = jsonargparse.ArgumentParser(
        prog=f"dynpool {command}",
        usage=f"dynpool {command} CONFIG [--resume | --overwrite] [--KEY VALUE ...]",
        description="Reads CONFIG, a YAML file of the keys below, then the options.",
        exit_on_error=False,
        allow_abbrev=False,
        default_env=False,
    )
    parser.add_argument("--config", action="config", help="the YAML file, same as CONFIG")
    parser.add_argument(
        "--resume", action="store_true", help="continue after the last checkpoint; starts if there is none"
    )
    parser.add_argument("--overwrite", action="store_true", help="discard the run in the folder and start again")
    parser.add_class_arguments(kind)
    return parser


def load_config(
    kind: type[C], path: Path | None, overrides: Sequence[str] = (), *, command: str = "train"
) -> tuple[C, dict[str, bool]]:
    """A checked configuration: defaults, then the YAML file, then the overrides.

    Args:
        kind: `RunConfig` or `ComparisonConfig`.
        path: YAML file, or None for the defaults.
        overrides: command line options, e.g. ["--epochs", "3", "--data.variant", "tile", "--resume"].
        command: the command named in the help.

    Returns:
        The configuration, and {"resume": ..., "overwrite": ...}.

    Raises:
        ConfigError: for a missing or malformed file, an unknown key (naming the nearest known one), or a value of the
            wrong type or out of range (naming key, value and what is allowed).
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = read_yaml(path)
        _check_keys(values, ComparisonConfig, path)  # a run reads a comparison's file too
        if kind is RunConfig:
            values = {k: v for k, v in values.items() if k not in COMPARISON_KEYS}
    _check_options(overrides, kind)
    parser = make_parser(kind, command)
    where = f"{path}: " if path is not None else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            base = parser.parse_object(values)
            parsed = parser.parse_args(list(overrides), namespace=base)
            flags = {key: bool(parsed.pop(key)) for key in ("resume", "overwrite")}
            parsed.pop("config", None)
            config = parser.instantiate(parsed)
            result = kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind)})
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from None
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}{_plain(str(error), kind)}") from None
    if flags["resume"] and flags["overwrite"]:
        raise ConfigError("--resume and --overwrite exclude each other")
    return result, flags
