"""Checkpoints of converted and frozen models: files that contain the conversion, and models rebuilt from them.

No code in a file is run: only tensors and plain containers are read (`weights_only`).
"""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import os
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dynpool.common.archives import DamagedArchiveError, check_archive
from dynpool.common.arguments import check_model
from dynpool.graph import options_from
from dynpool.resizers import LearnedResizer
from dynpool.resolution import ENTRY, FROZEN_ALPHAS, PACKAGES, dotted, without_module

from .api import convert
from .freezing import freeze

__all__ = ["load", "read_state_dict", "save"]

ENTRIES = ("state_dict", "model_state_dict", "model")  # keys under which training programs save the weights
PREFIXES = ("module.", "_orig_mod.")  # prefixes added by wrappers

_MAKERS = ("dynpool.convert", "baselines.shape_adaptor_network")


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights of a model, and how it was converted, to a file that :func:`load` reads.

    If the name ends in ".safetensors" the file has that format, with the conversion in its header; else it is the file
    of `torch.save(model.state_dict(), path)`.

    Raises:
        ValueError: `path` is a folder.
        FileNotFoundError: the folder of `path` does not exist.
        OSError: the file cannot be written.
    """
    check_model(model)
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, got {path!r}")
    if Path(path).is_dir():
        raise ValueError(f"path is {os.fspath(path)!r}, which is a folder: name a file")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"path is {os.fspath(path)!r}: there is no folder {str(Path(path).parent)!r}")
    state = model.state_dict()
    try:
        if Path(path).suffix != ".safetensors":
            torch.save(state, path)
            return
        header = {"format": "pt", ENTRY: json.dumps(dict(_descriptions(state)))}
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, path, header)
    except (RuntimeError, SafetensorError) as error:  # raised by both if a file cannot be written
        raise OSError(f"path is {os.fspath(path)!r}, which cannot be written: {error}") from error


def load(
    model: nn.Module,
    checkpoint: str | os.PathLike[str] | Mapping[str, Any],
    *,
    prefix: str = "",
    conversion: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A copy of `model` with the weights of a checkpoint, converted (and frozen) as the checkpoint's model was.

    The state dict of a converted or frozen model contains its conversion; torch.save keeps it, :func:`save` also writes
    it into safetensors. A plain dict of tensors does not contain it: then pass `conversion`.

    Args:
        model: the original model, as it was passed to :func:`dynpool.convert`; it is not changed.
        checkpoint: a file of torch.save or safetensors, or a state dict. A file may hold the state dict as its entry
            "state_dict", "model_state_dict" or "model".
        prefix: the prefix of all names of the model's weights, such as "model." in checkpoints of Lightning; other
            entries are ignored. "module." and "_orig_mod." before every name are removed automatically.
        conversion: arguments of :func:`dynpool.convert`, used instead of those in the checkpoint. `input_size` may be
            left out if the checkpoint says it.

    Returns:
        the converted or frozen model with the sizes of the checkpoint; or the plain model, if the checkpoint contains
        no conversion. There is a warning if that information may have been lost: the weights of a frozen model have the
        names of the original, so a plain dict of them cannot be distinguished from that of the original.

    Raises:
        TypeError: for an argument of the wrong type, or a key of `conversion` that is not an argument of `convert`.
        FileNotFoundError: the file does not exist.
        ValueError: the checkpoint is damaged, contains no weights, has no names with the prefix, or has learned sizes
            but no conversion; `conversion` lacks `input_size`; the checkpoint names an unknown resizer, or is of
            another model (the message says what differs).

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
        >>> learned = convert(net, (3, 32, 32), order="before")
        >>> again = load(net, learned.state_dict())
    """
    check_model(model)
    if not isinstance(checkpoint, (str, os.PathLike, Mapping)):
        raise TypeError(f"checkpoint must be a path or a state dict, got {type(checkpoint).__name__}")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a str, got {prefix!r}")
    known = [name for name in inspect.signature(convert).parameters if name != "model"]
    if conversion is not None and not (isinstance(conversion, Mapping) and set(conversion) <= set(known)):
        raise TypeError(f"conversion must be a dict of {', '.join(known)}, got {conversion!r}")
    if isinstance(checkpoint, Mapping):
        named, state = "the state dict", _weights(checkpoint, "the state dict is a dict")
    else:
        named, state = f"checkpoint {os.fspath(checkpoint)}", read_state_dict(checkpoint)
    if prefix and not any(name.startswith(_dotted(prefix)) for name in state):
        raise ValueError(f"prefix is {prefix!r}, but no name in {named} starts with it{_prefix_hint(model, state)}")
    state = _without_prefix(state, prefix)
    told = dict(_descriptions(state))
    if conversion is not None:
        of_file = told.get("", {}).get("input_size")
        if "input_size" not in conversion and of_file is None:
            raise ValueError(f"conversion is {dict(conversion)}, which lacks input_size, as does {named}")
        given = {"input_size": of_file, **conversion}
        told = {"": {"given": given, "frozen": FROZEN_ALPHAS in state}}
    parts = dict(model.named_modules())
    for path in told:
        if path not in parts:
            raise ValueError(
                f"{named} has learned sizes in {path!r}, which the model does not have; "
                f"did you mean the prefix '{path}.'?"
            )
    if told:  # converting keeps the names of all weights
        lacking = [text for text in _unlike(model, state) if not text.startswith("unknown")]
        _check_alike(named, lacking, _prefix_of(model, state))
    made = copy.deepcopy(model)
    for path, description in told.items():
        made = _replaced(made, path, _converted(made.get_submodule(path), description))
    learned = [name for name in state if name.endswith((".alpha", FROZEN_ALPHAS)) and name not in made.state_dict()]
    if learned and not told:
        raise ValueError(
            f"{named} has learned sizes ({learned[0]}) but does not say how its model was converted: give "
            'conversion={"input_size": ..., "order": ..., ...}, the arguments of dynpool.convert'
            + (f", and prefix={meant!r}" if (meant := _prefix_of(model, state)) else "")
        )
    try:
        made.load_state_dict(state)
    except RuntimeError as error:
        _check_alike(named, _unlike(made, state), _prefix_of(made, state))
        raise ValueError(f"{named} cannot be loaded: {' '.join(str(error).split())}") from error
    if not any(name.endswith((".alpha", FROZEN_ALPHAS)) for name in state) and not getattr(state, "_metadata", None):
        warnings.warn(
            f"{named} has neither learned sizes nor metadata, as a plain dict or safetensors file has none: if it is "
            "of a frozen model, its sizes are lost, and these are the original's; dynpool.save keeps them",
            stacklevel=2,
        )
    for path, description in told.items():
        if description.get("frozen"):
            made = _replaced(made, path, freeze(made.get_submodule(path)))
    return made


def _check_alike(named: str, differences: Sequence[str], prefix: str | None) -> None:
    if differences:
        hint = f"; did you mean the prefix {prefix!r}?" if prefix else ""
        raise ValueError(f"{named} belongs to another model: {'; '.join(differences)}{hint}")


def _unlike(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """A short description of the names and shapes of weights that differ from those of the model."""
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys() - {FROZEN_ALPHAS})
    shapes = [
        f"{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    found = [f"{word} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
             for word, names in (("missing", missing), ("unknown", unknown)) if names]  # fmt: skip
    return found + shapes[:3]


def _replaced(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """The model with the module at a path replaced; the new module itself if the path is empty."""
    if not path:
        return module
    owner, _, leaf = path.rpartition(".")
    model.get_submodule(owner).register_module(leaf, module)
    return model


def _converted(model: nn.Module, description: Mapping[str, Any]) -> nn.Module:
    """The model converted as described."""
    if "given" in description:
        return convert(model, **description["given"])
    damaged = [key for key in ("by", "arguments", "input_size", "pool", "options") if key not in description]
    if damaged:
        raise ValueError(
            f"the checkpoint's description of its conversion lacks {', '.join(damaged)}: give conversion={{...}}"
        )
    by = description["by"]
    if by not in _MAKERS:
        raise ValueError(f"the checkpoint's model was made by {by!r}, which is unknown; known: {_MAKERS}")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in description["arguments"].items()}
    make: Callable[..., nn.Module] = convert
    if by == "dynpool.convert":
        arguments["pool"] = partial(_resizer(description["pool"]), **description["options"])
    else:
        make = importlib.import_module("dynpool.baselines").shape_adaptor_network  # which lies above this module
    return make(model, tuple(description["input_size"]), **options_from(arguments))


def _resizer(name: str) -> type[LearnedResizer[Any]]:
    """The resizer class of a dotted name: one that has been imported, or one of this library."""
    name = without_module(name)
    package, _, own = name.partition(".")
    if package in PACKAGES:
        home = package if package == "dynpool" else f"dynpool.{package}"
        getattr(importlib.import_module(home), own, None)  # public names are imported on first use
    known = {dotted(kind): kind for kind in _below(LearnedResizer)}
    if name not in known:
        raise ValueError(
            f"the checkpoint's model was converted with pool={name}, which has not been imported: import it first, or "
            "give the arguments as conversion={...}"
        )
    return known[name]


def _below(kind: Any) -> Iterator[type[LearnedResizer[Any]]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


# ------------------------------------------------------------------------------------------------------------- reading


def read_state_dict(path: str | os.PathLike[str]) -> OrderedDict[str, Tensor]:
    """The weights in a file of torch.save or safetensors, on the CPU, with the model's conversion if saved.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is a folder, is damaged, or contains no weights.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"checkpoint is {path}, which is a folder: name a file in it")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint is {path}: there is no such file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_archive(path)
    return _weights(content, f"checkpoint is {path}")


def _weights(content: Any, named: str) -> OrderedDict[str, Tensor]:
    """The state dict in a training program's checkpoint, without the prefixes of wrappers."""
    for entry in ENTRIES:
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{named}, which has no weights: neither named tensors nor an entry {' or '.join(ENTRIES)}")
    state = _with_metadata({str(name): value for name, value in content.items()}, getattr(content, "_metadata", {}))
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = _without_prefix(state, prefix)
    return state


def _read_safetensors(path: Path) -> OrderedDict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            metadata = file.metadata() or {}
            header = json.loads(metadata.get(ENTRY, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"checkpoint is {path}, which cannot be read as weights: it is damaged ({error})") from error
    # written by `save`: a model without an entry is a plain one
    ours: dict[str, Any] = {"": {}} if ENTRY in metadata else {}
    return _with_metadata(tensors, ours | {where: {ENTRY: description} for where, description in header.items()})


def _read_archive(path: Path) -> Any:
    def unreadable(why: str) -> ValueError:
        return ValueError(f"checkpoint is {path}, which cannot be read as weights: {why}")

    if zipfile.is_zipfile(path):
        try:
            check_archive(path)
        except DamagedArchiveError as error:
            raise unreadable(f"it is damaged ({error})") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise any exception
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if wanted:
            raise unreadable(
                f"it holds a {wanted[1]}, but only tensors and plain containers are read; save its state dict"
            ) from error
        raise unreadable("it is damaged, or not a file of torch.save") from error


def _with_metadata(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> OrderedDict[str, Any]:
    state = OrderedDict(tensors)
    state._metadata = OrderedDict(metadata)  # type: ignore[attr-defined]
    return state


MODEL = 3  # a checkpoint may hold the model up to this many times, as with an average of its weights


def _dotted(prefix: str) -> str:
    return prefix if prefix.endswith(".") else f"{prefix}."


def _prefix_hint(model: nn.Module, state: Mapping[str, Any]) -> str:
    """A hint at the prefix that the names in a state dict have before those of the model."""
    found = _prefix_of(model, state)
    if found is None:
        return f"; its names are {', '.join(list(state)[:3])}, ..."
    return f"; did you mean {found!r}?" if found else ": omit it, as the names are those of the model"


def _prefix_of(model: nn.Module, state: Mapping[str, Any]) -> str | None:
    """The prefix of the names of the model's weights in a state dict: "" for no prefix, None if they are missing."""
    own = list(model.state_dict())
    for name in state if own else ():
        prefix = name.removesuffix(own[0])
        many = MODEL * sum(other.startswith(prefix) for other in state) >= len(state)  # not a layer of another model
        if (
            name.endswith(own[0])
            and prefix[-1:] in ("", ".")
            and many
            and all(prefix + other in state for other in own)
        ):
            return prefix
    return None


def _without_prefix(state: Mapping[str, Any], prefix: str) -> OrderedDict[str, Any]:
    """The entries and the metadata whose names have the prefix, with the prefix removed."""
    metadata = getattr(state, "_metadata", {})
    if not prefix:
        return _with_metadata(state, metadata)
    dot = _dotted(prefix)
    kept = {name.removeprefix(dot): value for name, value in state.items() if name.startswith(dot)}
    about = {f"{name}."[len(dot) : -1]: value for name, value in metadata.items() if f"{name}.".startswith(dot)}
    return _with_metadata(kept, about)


def _descriptions(state: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The conversions of the model, or of modules in it, in the metadata of a state dict, by module path."""
    for path, metadata in getattr(state, "_metadata", {}).items():
        if isinstance(metadata, Mapping) and isinstance(metadata.get(ENTRY), Mapping):
            yield path, dict(metadata[ENTRY])
