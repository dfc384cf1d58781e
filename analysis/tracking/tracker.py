"""`IMinTracker`: sizes, GMACs and I_min of a model during training, as a file of JSON lines."""

from __future__ import annotations

import errno
import json
import math
import operator
import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynpool.common.arguments import check_model
from dynpool.conversion import sizes_of
from dynpool.cost import CostModel, costed_model
from dynpool.graph import PassOptions, Resize, Survey, check_input_size, primitives
from dynpool.resizers import host_alphas, learned_resizers
from dynpool.resolution import resolution_tree
from dynpool.size_math import PerAxis, Size

from ..fields import compile_fields

__all__ = ["IMinTracker"]


_HEAD = b'{"step"'  # the start of every line
_BLOCK = 1 << 16  # bytes


class IMinTracker:
    """Appends a model's sizes, alphas, GMACs, I_min and I_max to a file of JSON lines.

    The model is traced on construction, and again by a call of `log` after a learned kernel has got another size. Each
    call reads the alphas in one copy from the device and evaluates the trace at them. Existing lines of the file stay;
    a last line that a crash truncated is dropped before the next one is appended.

    Args:
        model: a converted model, one with hand-placed resizers, or a plain one. Its layers must not change later.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W); of these [h, w] below is [l] or [d, h, w].
        path: the file to append to; its folder must exist.
        inputs: the arguments of the model's forward, if an image is not enough, see :func:`dynpool.convert`.
        batch: batch size of the traced pass, if one image is not enough.
        dtype: of the images; default: that of the weights. Converted models know all three.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a bad `input_size`, a model that cannot run at it, or an existing file that is not such a log or
            has a damaged line.
        OSError: if `path` cannot be written (as PermissionError, IsADirectoryError, ...); the message names it.
    """

    def __init__(
        self,
        model: nn.Module,
        input_size: Sequence[int],
        path: str | os.PathLike[str],
        *,
        inputs: Any = None,
        batch: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_model(model)
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a str or a path, got {path!r}")
        self.input_size = check_input_size(input_size)
        self.path = Path(path)
        self._model = model = costed_model(model)
        self._options: PassOptions = {"inputs": inputs, "batch": batch, "dtype": dtype}
        self._trace()
        self._tree = resolution_tree(model)
        if self._tree is not None:
            self._resizers = {self._tree.nodes[i].name: resizer for i, _, resizer in self._tree.learned}
        else:
            self._resizers = learned_resizers(model)
        self._append(b"")  # an unwritable path is an error now, not after the first epoch
        _check_lines(self.path)

    def _trace(self) -> None:
        """Trace the model with its live kernels."""
        survey = Survey(self._model, self.input_size, **self._options)
        self._graph = survey.compared
        self._program = compile_fields(self._graph)
        self._cost = CostModel(self._model, self.input_size, survey=survey)
        self._kernels = self._cost.live_kernels()
        self._kernel_maps: dict[str, list[tuple[int | None, int]]] = {}  # (axis class, size) of their maps
        for node in self._graph.nodes:
            if node.path in self._kernels and isinstance(node.primitive, primitives.Window):
                dims = self._graph.dims(node.primitive.x.id)[-2:]
                self._kernel_maps.setdefault(node.path, [(dim.axis, dim.size) for dim in dims])
        self._traced_sizes = sizes_of(survey)
        self._first_resizes: dict[str, Resize] = {}  # the first layer that resizes to each named size
        for resize in self._graph.resizes:
            self._first_resizes.setdefault(resize.path or resize.kind, resize)

    def log(self, step: int) -> dict[str, Any]:
        """The model's current sizes, alphas, GMACs and receptive fields, returned and appended to the file as one line.

        Args:
            step: any integer that identifies the line, such as the epoch.

        Returns:
            "step"; "sizes": {name: [h, w]} in pixels, "input" first; "alphas": {name: [h, w]}, empty for a plain model;
            "strides": {name: [h, w]}, the strides that the alphas give, in input pixels per output pixel; of a model
            that learns kernels "kernels" and "kernel_maps": {layer: [h, w]}, the sizes in pixels of its kernel and of
            the map that this slides over; "gmacs";
            "i_min", "i_max", "i_max_local": [h, w] in pixels of the input; "unproductive": the number of such layers;
            "behind_global": the number of convolutions behind a global operation, which see the whole image and are not
            counted as layers. An infinite i_max is the float `inf` here and the string "inf" in the file.

        Raises:
            TypeError: if `step` is not an integer.
            ValueError: if an alpha is not finite and positive.
            OSError: if the line cannot be written; the file is left without it.
        """
        try:
            number = operator.index(step)
        except TypeError:
            raise TypeError(f"step must be an integer, got {step!r}") from None
        alphas = dict(zip(self._resizers, host_alphas(list(self._resizers.values())), strict=True))
        for name, value in alphas.items():
            if not all(
                math.isfinite(a) and 0 < s < math.inf
                for a, s in zip(value, self._resizers[name].strides(value), strict=True)
            ):
                raise ValueError(
                    f"alpha of {name} is {value}, not a finite positive stride: call dynpool.constrain(model) first"
                )
        learned = {name: value for name, value in alphas.items() if self._resizers[name].alpha is not None}
        if self._cost.live_kernels() != self._kernels:
            self._trace()
        named, axes = self._sizes_at(list(learned.values()))
        fields = self._program.fields(axes)
        record: dict[str, Any] = {
            "step": number,
            "sizes": {name: list(size) for name, size in named.items()},
            "alphas": {name: list(value) for name, value in learned.items()},
            "strides": {name: list(self._resizers[name].strides(value)) for name, value in learned.items()},
            **self._kernel_sizes(axes),
            "gmacs": self._cost.macs(list(learned.values())) / 1e9,
            "i_min": list(fields.i_min),
            "i_max": list(fields.i_max),
            "i_max_local": list(fields.i_max_local),
            "unproductive": len(fields.unproductive),
            "behind_global": len(self._program.behind_global),
        }
        i_max = [v if math.isfinite(v) else "inf" for v in fields.i_max]  # JSON has no infinity
        self._append(json.dumps({**record, "i_max": i_max}, allow_nan=False).encode() + b"\n")
        return record

    def _kernel_sizes(self, axes: dict[int, int]) -> dict[str, Any]:
        """The sizes in pixels of the learned kernels, and of the maps that they slide over, by layer."""
        if not self._kernels:
            return {}
        extent = self._graph.classes.extent
        maps = {path: [extent(axis, n, axes) for axis, n in dims] for path, dims in self._kernel_maps.items()}
        return {"kernels": {path: list(size) for path, (size, _) in self._kernels.items()}, "kernel_maps": maps}

    def _sizes_at(self, values: list[PerAxis]) -> tuple[dict[str, Size], dict[int, int]]:
        """Sizes in pixels by name, and the size of every axis class."""
        hw = self.input_size[1:]
        if self._tree is not None:
            names = (node.name for node in self._tree.nodes)
            named = dict(zip(names, self._tree.sizes_at(hw, values), strict=True))
            return named, self._graph.axis_sizes(self._tree.sizer(hw, values))
        axes = self._cost.axis_sizes(self._graph, values)
        now = dict(self._traced_sizes)
        for name in now.keys() & self._first_resizes.keys():
            resize = self._first_resizes[name]
            ends = zip(resize.target, resize.out_size, strict=True)
            now[name] = tuple(self._graph.classes.extent(axis, n, axes) for axis, n in ends)
        return now, axes

    def _append(self, line: bytes) -> None:
        """Repair the end of the file, then append `line` with a single write: all of it or nothing."""
        try:
            with self.path.open("ab", buffering=0) as out:
                end, missing = _end_of_lines(self.path)
                if end < os.fstat(out.fileno()).st_size:
                    out.truncate(end)
                data = missing + line
                _write(out, data, end)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot write the I_min log: {error.strerror or error}", str(self.path)
            ) from error


def _write(out: FileIO, data: bytes, end: int) -> None:
    """Write `data` to a file that ends at `end`; if the write is incomplete, undo it and raise OSError."""
    try:
        complete = not data or out.write(data) == len(data)
    except OSError:
        out.truncate(end)
        raise
    if not complete:
        out.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _check_lines(path: Path) -> None:
    """Raise ValueError for a line that is not JSON."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                json.loads(line)
            except ValueError:
                raise ValueError(
                    f"line {number} of the I_min log {path} is damaged: remove it, or choose another file"
                ) from None


def _end_of_lines(path: Path) -> tuple[int, bytes]:
    """(end of the last complete line in bytes, newline to add if that line lacks one)."""
    with path.open("rb") as old:
        head = old.read(len(_HEAD))
        if not _HEAD.startswith(head):
            raise ValueError(
                f"{path} is not an I_min log (its first line does not start with {_HEAD.decode()}); it was not changed"
            )
        size = old.seek(0, os.SEEK_END)
        tail = b""
        at = size
        while at > 0 and b"\n" not in tail:
            start = max(at - _BLOCK, 0)
            old.seek(start)
            tail = old.read(at - start) + tail
            at = start
    rest = tail[tail.rfind(b"\n") + 1 :]
    if not rest:
        return size, b""
    try:
        json.loads(rest)
    except ValueError:
        return size - len(rest), b""
    return size, b"\n"
