"""Reads a configuration from a YAML file, then from the command line, and checks every key and value.

Runs and comparisons share one file format: a run ignores the keys that only a comparison has.
"""

import argparse
import dataclasses
import functools
import json
import logging
import re
import warnings
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import jsonargparse
import yaml

from dynpool.analysis.common.checksums import text_is_intact
from dynpool.common.names import nearest

from .config import COMPARISON_KEYS, DESIGNED_COST, ComparisonConfig, RunConfig
from .config_identity import to_dict
from .errors import ConfigError
from .grid_point import GridPoint

__all__ = ["load_config", "make_parser", "read_yaml", "run_config", "run_configs"]

log = logging.getLogger(__name__)

C = TypeVar("C", bound=RunConfig)

# Sections whose keys are not fixed.
OPEN_SECTIONS = ("model.options.", "gmacs_budget.", "start.")
# Keys of a run that a comparison sets itself.
SET_BY_COMPARISON = frozenset({"name", "method", "seed", "out", "grid_point", "input_size"})


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
        name = f"{prefix[:-1]} is {values!r}; allowed: " if prefix else "the file has no configuration: it must be "
        raise ConfigError(f"{where}: {name}a mapping of keys to values")
    sections = _sections(kind)
    for key, value in values.items():
        full = f"{prefix}{key}"
        if key not in sections:
            known = [prefix + k for k in sections] + [k for k in _known_keys(kind, prefix) if k not in sections]
            if full in known:  # written as on the command line
                outer, _, last = full.rpartition(".")
                raise ConfigError(f"{where}: unknown key {full!r}; write {outer}: {{{last}: ...}} in a file")
            raise ConfigError(f"{where}: unknown key {full!r}{nearest(full, known)}")
        section = sections[key]
        if section is not None:
            _check_keys(value, section, where, f"{full}.")
        elif value is None and type(None) not in get_args(get_type_hints(kind)[key]):
            raise ConfigError(f"{where}: {full} is null; allowed: {_allowed(get_type_hints(kind)[key])}")


_MAPPINGS: dict[Any, str] = {  # by the type of their values
    Any: "a mapping of keys to values",
    dict: "methods, each with keys and lists of their values, such as {dynopool: {alpha_lr: [0.1, 1.0]}}",
    tuple: "{NAME: [a number for each axis], ...}",
    UnionType: "{match: METHOD}",
}


def _allowed(hint: Any) -> str:
    """The description of a type for error messages."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " * (len(args) > 1) + ", ".join(map(str, args))
    if origin in (Union, UnionType):
        listed = " or ".join(_allowed(a) for a in args if a is not type(None))
        return f"null or {listed}" if type(None) in args else listed
    if origin is tuple:
        if args == (tuple[str, str], Ellipsis):
            return "a list of pairs, such as [[a, b], [a, c]]"
        if get_origin(args[0]) is Literal:
            return f"a list of {', '.join(map(str, get_args(args[0])))}"
        count = "" if args[-1] is Ellipsis else f"{len(args)} "
        such = {int: ", such as [0, 1]", str: ", such as [a, b]"}.get(args[0], "") if args[-1] is Ellipsis else ""
        return f"a list of {count}{_allowed(args[0]).removeprefix('a ')}s{such}"
    if origin is dict and (get_origin(args[1]) or args[1]) in _MAPPINGS:
        return _MAPPINGS[get_origin(args[1]) or args[1]]
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(hint, "a mapping of keys to values")


def _plain(message: str, kind: type) -> ConfigError:
    """An error of the parser, which is a text, as 'KEY is VALUE; allowed: TYPE' where it is about a value."""
    section = re.search(r'Parser key "([\w.]+)":\s+Unable to load config \W(.*?)\W\s+-', message, re.DOTALL)
    found = re.search(r'Parser key "([\w.]+)":.*(?:Got value|Given value): (.*?)$', message, re.DOTALL)
    if section:
        keys = [key for key in _known_keys(kind) if key.startswith(f"{section[1]}.")]
        said = f"{section[1]} is {section[2]!r}; allowed: a section with the keys {', '.join(keys)}"
        return ConfigError(said, section[1])
    if not found:
        said = " ".join(message.split()).removeprefix("argument ")
        about = re.match(r"[\w.]+(?=: )", said)
        return ConfigError(said, about[0] if about else "")
    hint: Any = kind
    for part in found[1].split("."):
        hint = get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else None
    allowed, value = _allowed(hint), found[2].strip()
    value = {"True": "true", "False": "false", "None": "null"}.get(value, value)
    said = value if allowed.endswith("a text") else repr(value)  # what is refused as a text is not one
    return ConfigError(f"{found[1]} is {said}; allowed: {allowed}", found[1])


def _check_options(overrides: Sequence[str], kind: type, command: str) -> None:
    known = [*_known_keys(kind), *(["json-lines"] if kind is RunConfig else []), "resume", "overwrite", "help"]
    for word in overrides:
        if word == "--":
            break
        if not re.match("--?[A-Za-z]", word):
            continue
        key = word.lstrip("-").split("=", 1)[0]
        if kind is ComparisonConfig and key in _OF_SINGLE_RUNS:
            raise ConfigError(f"--{key} is an option of dynpool train; dynpool compare has --methods, --seeds, --grid")
        if not word.startswith("--") or (
            key not in known and key not in _sections(kind) and not key.startswith(OPEN_SECTIONS)
        ):
            said = nearest("--" + key, ["--" + k for k in known], listing=f"dynpool {command} --help lists all")
            raise ConfigError(f"unknown option {word.split('=', 1)[0]!r}{said}")


def _with_underscores(word: str, kind: type) -> str:
    """An option as its key is written: --gpus-per-run=1 as --gpus_per_run=1."""
    option, equals, value = word.partition("=")
    key = option.removeprefix("--").replace("-", "_")
    return f"--{key}{equals}{value}" if option.startswith("--") and key in _known_keys(kind) else word


class _UniqueLoader(yaml.SafeLoader):
    """A safe loader that rejects duplicate keys, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} cannot be a key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises a `ConfigError` that names the file if it is missing or not YAML."""
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _UniqueLoader)
        json.dumps(content, default=str, skipkeys=True)  # raises for a circular alias
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a configuration file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or an invalid date
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return content


_OF_SINGLE_RUNS = ("method", "seed", "grid_point")

_PURPOSE = {
    RunConfig: "Train one run.",
    ComparisonConfig: "Train every method with every seed, then write the report.",
}


class _HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Help without Python types and the defaults of switches: the sentence on a key says what it may be."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = super()._get_help_string(action).replace("type: %(type)s, ", "")
        return text.replace(" (default: %(default)s)", "") if action.nargs == 0 or action.default == "" else text


def make_parser(kind: type[C], command: str) -> jsonargparse.ArgumentParser:
    """The option parser of a command that takes a configuration of the given kind."""
    parser = jsonargparse.ArgumentParser(
        prog=f"dynpool {command}",
        usage=f"dynpool {command} CONFIG [--resume | --overwrite] [--KEY VALUE ...]",
        description=f"{_PURPOSE[kind]} CONFIG is a YAML file with the keys below; options override it.",
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        default_env=False,
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue after the last checkpoint; start if there is none"
    )
    parser.add_argument("--overwrite", action="store_true", help="discard the run in the folder and start again")
    if kind is RunConfig:
        parser.add_argument("--json-lines", action="store_true", help="print progress as one JSON object per line")
    parser.add_class_arguments(kind)
    for action in parser._actions:
        if kind is ComparisonConfig and action.dest in _OF_SINGLE_RUNS:
            action.help = argparse.SUPPRESS  # `_check_options` refuses it
        if action.metavar == "CONFIG" and action.dest in _sections(kind):
            action.metavar, action.help = "SECTION", "the whole section, as text such as '{name: ...}' or a YAML file"
    return parser


# kept, as a comparison checks each run that it will train
_kept_parser: Callable[[type, str], jsonargparse.ArgumentParser] = functools.cache(make_parser)


def load_config(
    kind: type[C], path: Path | None, overrides: Sequence[str] = (), *, command: str = "train"
) -> tuple[C, dict[str, bool]]:
    """A checked configuration: defaults, then the YAML file, then the overrides.

    Args:
        kind: `RunConfig` or `ComparisonConfig`.
        path: YAML file, or None for the defaults.
        overrides: command line options, e.g. ["--epochs", "3", "--data.variant", "tile", "--resume"].
        command: name of the command in the help.

    Returns:
        The configuration, and {"resume": ..., "overwrite": ..., "json_lines": ...}.

    Raises:
        ConfigError: for a missing or malformed file, an unknown key (the message suggests the nearest), or a value of
            the wrong type or out of range (it names key, value and what is allowed), also in a comparison's grid.
    """
    overrides = [_with_underscores(word, kind) for word in overrides]
    values: dict[str, Any] = {}
    ignored: list[str] = []
    if path is not None:
        values = read_yaml(path)
        _check_keys(values, ComparisonConfig, path)  # a run reads a comparison's file too
        if kind is RunConfig:
            ignored = [key for key in values if key in COMPARISON_KEYS]
            values = {k: v for k, v in values.items() if k not in COMPARISON_KEYS}
        else:
            values = _narrowed(values, overrides)
    _check_options(overrides, kind, command)
    try:
        result, flags = _parsed(kind, values, overrides, command)
    except ConfigError as error:
        raise ConfigError(_with_source(error, kind, values, overrides, path), error.key) from None
    if path is not None and flags["resume"] and text_is_intact(path.read_text(encoding="utf-8")) is False:
        raise ConfigError(
            f"{path} is damaged or was edited: it does not match the checksum in its first line; if you edited it, "
            "remove that line"
        )
    if flags["resume"] and flags["overwrite"]:
        raise ConfigError("--resume and --overwrite cannot be given together")
    if ignored and not flags["json_lines"]:  # which a comparison's own runs set
        log.warning(
            "%s: %s belong to a comparison and are ignored; this trains method %s with seed %d, and dynpool compare "
            "trains them all", path, ", ".join(ignored), result.method, result.seed,
        )  # fmt: skip
    return result, flags


def _narrowed(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The file's values without the grid points and pairs of methods that `--methods` leaves out."""
    given = [w.partition("=")[2] or after for w, after in pairwise([*overrides, ""]) if w.split("=")[0] == "--methods"]
    try:
        methods = yaml.safe_load(given[-1]) if given else None
    except yaml.YAMLError:
        return values  # an error later on
    if not isinstance(methods, list):
        return values
    kept = dict(values)
    if isinstance(values.get("grid"), dict):
        kept["grid"] = {method: keys for method, keys in values["grid"].items() if method in methods}
    if isinstance(values.get("pairs"), list):
        groups = [pair for pair in values["pairs"] if isinstance(pair, list)]
        left = [pair for pair in groups if all(str(group).partition(" ")[0] in methods for group in pair)]
        kept["pairs"] = left or None
    return kept


def _with_source(
    found: ConfigError, kind: type[C], values: dict[str, Any], overrides: Sequence[str], path: Path | None
) -> str:
    """The message with the source of the error in front: the file, an option, or the file with the options."""
    message = str(found)
    where = f"{path}: " if path is not None else ""
    try:
        _parsed(kind, values, (), "")
    except ConfigError as error:
        if error.args == found.args:
            return f"{where}{message}"
    if not found.key:  # how an option is written
        return message
    given = [word[2:].split("=", 1)[0] for word in overrides if word.startswith("--") and word != "--"]
    if any(f"{found.key}.".startswith(f"{key}.") for key in given):
        return f"--{message}"
    return f"{where.removesuffix(': ')} with {', '.join(f'--{key}' for key in given)}: {message}".lstrip()


def _parsed(kind: type[C], values: dict[str, Any], overrides: Sequence[str], command: str) -> tuple[C, dict[str, bool]]:
    parser = _kept_parser(kind, command)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = parser.parse_object(values)
            if overrides:
                parsed = parser.parse_args(list(overrides), namespace=parsed)
            flags = {key: bool(parsed.pop(key, False)) for key in ("resume", "overwrite", "json_lines")}
            config = parser.instantiate(parsed)
            result = kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind)})
    except ConfigError:
        raise
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        raise _plain(str(error), kind) from None
    if isinstance(result, ComparisonConfig):
        for point in result.points():
            run_config(result, point, result.seeds[0])
    return result, flags


def run_config(comparison: ComparisonConfig, point: GridPoint, seed: int) -> RunConfig:
    """The configuration of one run of a comparison; its folder is <comparison>/<point>-seed<seed>.

    Where all runs are to match one method's cost, that method's own and those that ignore a budget have none.

    Raises:
        ConfigError: if the grid has an unknown key, one that a comparison sets itself, or a value that is not allowed;
            or if the method does not go with the keys of all.
    """
    values = {k: v for k, v in to_dict(comparison).items() if k not in COMPARISON_KEYS}
    if point.method in DESIGNED_COST or comparison.match in (point.method, point.group):
        values["gmacs_budget"] = None if comparison.match else values["gmacs_budget"]
    grid = f"grid.{point.method}"
    where, about = (grid, grid) if point.values else (f"methods has {point.method!r}", "methods")
    for key, value in point.values.items():
        own = [k for k in _known_keys(RunConfig) if k not in SET_BY_COMPARISON]
        if key not in own and not key.startswith("model.options."):
            raise ConfigError(f"{grid}: unknown key {key!r}{nearest(key, own)}", grid)
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
    name = point.name(seed)
    own_values = {"name": name, "method": point.method, "seed": seed, "out": str(comparison.folder / name)}
    try:
        return _parsed(RunConfig, values | own_values | {"grid_point": point.label}, (), "train")[0]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}", about) from None


def run_configs(comparison: ComparisonConfig) -> list[tuple[RunConfig, GridPoint]]:
    """The runs of a comparison with their grid points, seed by seed; each point is checked once.

    Raises:
        ConfigError: as `run_config`.
    """
    first, *others = comparison.seeds
    runs = [(run_config(comparison, point, first), point) for point in comparison.points()]
    return runs + [(_with_seed(run, comparison, point, seed), point) for seed in others for run, point in runs]


def _with_seed(run: RunConfig, comparison: ComparisonConfig, point: GridPoint, seed: int) -> RunConfig:
    name = point.name(seed)
    return dataclasses.replace(run, seed=seed, name=name, out=str(comparison.folder / name))
