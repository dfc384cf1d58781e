"""`collect`: what probes, saturation and heat maps need of the activations of layers, in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_flags, check_model, check_whole
from dynpool.common.names import nearest
from dynpool.graph import check_input_size, untouched
from dynpool.resolution import unwrapped

from ..common.batches import check_batches, checked, random_states_kept
from ..common.statistics import plural
from .hooked import HookedModel
from .layer_names import checked_names, layer_names
from .layer_reducer import Keep, LayerActivations, LayerReducer, Places, by

__all__ = ["Activations", "collect"]

Progress = Callable[[int, int | None], object]
Tell = Callable[[str], object]

FEWEST = 64  # images; what fits no more is refused


@dataclass(frozen=True)
class Activations:
    """The result of `collect`.

    Attributes:
        layers: by name, in order of execution.
        labels: (kept images,), the classes of the images that `features` and `maps` are of.
        images: number of images of the pass.
        size: (C, H, W) of the images.
        accuracy: share of all images that the model classifies correctly; None if its output is not (images, classes).
        memory: bytes that may be kept at most.
        notices: what was not done as asked, one sentence each.
    """

    layers: dict[str, LayerActivations]
    labels: np.ndarray
    images: int
    size: tuple[int, int, int]
    accuracy: float | None
    memory: int
    notices: tuple[str, ...]


@torch.inference_mode(False)
@torch.no_grad()
def collect(
    model: nn.Module,
    batches: Iterable[Any],
    layers: Sequence[str] | None = None,
    *,
    features: bool = True,
    moments: bool = True,
    maps: Sequence[str] = (),
    input_size: Sequence[int] | None = None,
    grid: int = 4,
    most_positions: int = 16,
    memory: int = 2**31,
    seed: int = 0,
    argument: str = "batches",
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Activations:
    """The activations of layers, reduced batch by batch to what probes, saturation and heat maps need.

    The pass runs in eval mode on a copy; the model, its mode, hooks and buffers and all random states stay as they are.
    The same data give the same result. The layers' own moments are of all images. Of features and maps, as
    many images are kept as fit into `memory`; if more come, a uniform sample of them (reservoir sampling), the same
    images for every layer, so that layers compare, with a notice.

    Args:
        model: any module, also converted or frozen; wrappers such as DistributedDataParallel are looked through.
        batches: pairs (images, labels): (N, C, H, W) of one size, and (N,) whole numbers from 0. Read once.
        layers: paths of modules; None: all convolutions and linear layers that run.
        features: keep each map averaged to `grid` x `grid` cells (adaptive average pooling); smaller maps are kept as
            they are.
        moments: keep running moments.
        maps: paths of the layers, among `layers`, whose maps are kept.
        input_size: (C, H, W) that the images must have; None: as those of the first batch.
        grid: cells per axis.
        most_positions: maps larger than this per axis are averaged to it, with a notice.
        memory: bytes to keep at most.
        seed: of the sample of images.
        argument: what errors call the batches.
        progress: called as progress(batches done, batches in all) before the first one and after each.
        tell: called with a sentence on the memory before the pass starts, and with each notice.

    Raises:
        TypeError: for an argument of a wrong type.
        ValueError: for a layer that does not exist or does not run, no image, images of different sizes or that the
            model cannot run on, labels beyond the model's outputs, activations that are NaN or infinite, outputs
            of a layer of another shape, or less memory than 64 images of all layers need; messages name what is wrong.
        MemoryError: if the device has no memory left for a batch.
    """
    check_model(model)
    check_flags(features=features, moments=moments)
    check_whole(1, grid=grid, most_positions=most_positions, memory=memory)
    check_whole(0, seed=seed)
    check_batches(batches, argument)
    inner = unwrapped(model)
    names = layer_names(inner, layers)
    wanted_maps = checked_names(inner, maps, "maps")
    for name in wanted_maps:
        if name not in names:
            raise ValueError(f"maps: {name!r} is not among the layers{nearest(name, names)}")
    batches_in_all = len(batches) if isinstance(batches, Sized) else None
    with untouched(model), random_states_kept(model):
        pairs = checked(batches, targets=True, argument=argument)
        each = enumerate((images, _checked_labels(images, labels, argument)) for images, labels in pairs)
        start = next(each)
        size, given = start[1][0].shape[1:], input_size
        if given is not None and tuple(size) != check_input_size(given):
            raise ValueError(f"{argument}: images are {by(size)}, not input_size={by(given)}")
        keep = Keep(features, moments, frozenset(wanted_maps), grid, most_positions)
        run = _Pass(inner, names, keep, start[1][0], argument, explicit=layers is not None)
        run.begin(memory, seed, tell)
        if progress is not None:
            progress(0, batches_in_all)
        for number, (images, labels) in chain([start], each):
            run.add(number, images, labels)
            if progress is not None:
                progress(number + 1, batches_in_all)
        return run.result(tell)


class _Pass:
    """One pass over the data with a copy of the model."""

    def __init__(
        self, model: nn.Module, names: list[str], keep: Keep, images: Tensor, argument: str, *, explicit: bool
    ) -> None:
        self.argument, self.size = argument, tuple(images.shape[1:])
        self.model = HookedModel(model, names, argument)
        self.layers: dict[str, LayerReducer] = {}

        def new(name: str, path: str, output: Any) -> None:
            self.layers[name] = LayerReducer(name, path, self.model.modules[path], output, keep)

        self.model.receive = new
        self.model(images[:1])
        missing = [name for name in names if name not in self.layers]
        if missing and explicit:
            raise ValueError(f"layers: {missing[0]!r} does not run in a forward pass")
        if not self.layers:
            raise ValueError("layers: no convolution or linear layer runs in a forward pass; name layers")
        self.model.receive = self._take
        self.seen = self.correct = 0
        self.labels = np.empty(0, np.int64)
        self.countable = True
        self.notices: list[str] = []
        maps = {x: x.rows["maps"].array.shape[2:] for x in self.layers.values() if "maps" in x.rows}
        self.notices += [
            f"maps of {x.name} are averaged from {by(x.size)} to {by(kept)} positions"
            for x, kept in maps.items()
            if kept != x.size
        ]

    def begin(self, memory: int, seed: int, tell: Tell | None) -> None:
        """Fix how many images are kept."""
        fixed = sum(x.fixed_bytes for x in self.layers.values())
        per_image = sum(x.bytes_per_image for x in self.layers.values())
        self.memory, self.random = memory, np.random.default_rng(seed)
        self.most = (memory - fixed) // per_image if per_image else 0
        if fixed > memory or (per_image and self.most < FEWEST):
            largest = max(self.layers.values(), key=lambda x: (x.bytes_per_image, x.channels))
            raise ValueError(
                f"memory={memory} bytes: {plural(len(self.layers), 'layer')} need {fixed} bytes and {per_image} for "
                f"each of at least {FEWEST} images, {fixed + FEWEST * per_image} in all; most of it is for "
                f"{largest.name!r} ({largest.bytes_per_image} an image): allow more, or name fewer layers"
            )
        if tell is not None:
            kept = f", {per_image} bytes for each of at most {self.most} images" if per_image else ""
            tell(f"{plural(len(self.layers), 'layer')}: {fixed} bytes{kept}; at most {memory / 2**20:.0f} MiB in all")
            for notice in self.notices:
                tell(notice)

    def add(self, number: int, images: Tensor, labels: Tensor) -> None:
        self.number, self.places = number, self._places(len(images))
        output = self.model(images)
        if self.places:
            need = max(self.places) + 1 - len(self.labels)
            self.labels = np.append(self.labels, np.zeros(max(0, need), np.int64))
            self.labels[list(self.places)] = labels.cpu().numpy()[list(self.places.values())]
        self.countable &= isinstance(output, Tensor) and output.ndim == 2 and len(output) == len(images)
        if self.countable:
            if int(labels.max()) >= output.shape[1]:
                raise ValueError(
                    f"{self.argument}: the label {int(labels.max())} in batch {number}, but the model has "
                    f"{plural(output.shape[1], 'output')}: it was trained on other classes"
                )
            self.correct += int((output.argmax(1).cpu() == labels.cpu()).sum())

    def result(self, tell: Tell | None) -> Activations:
        kept = min(self.most, self.seen)
        if self.most and kept < self.seen:
            said = f"{kept} of {self.seen} images, drawn evenly, are kept: more do not fit into {self.memory} bytes"
            self.notices.append(said)
            if tell is not None:
                tell(said)
        channels, height, width = self.size
        return Activations(
            layers={name: layer.result(kept) for name, layer in self.layers.items()},
            labels=self.labels,
            images=self.seen,
            size=(channels, height, width),
            accuracy=self.correct / self.seen if self.countable else None,
            memory=self.memory,
            notices=tuple(self.notices),
        )

    def _take(self, name: str, path: str, output: Any) -> None:
        if name not in self.layers:
            raise ValueError(f"layer {path!r} runs more often in batch {self.number} than on the first image")
        self.layers[name].take(output, self.places, self.most, self.number)

    def _places(self, count: int) -> Places:
        """{place in what is kept: image of the batch}, so that all images so far are equally likely to be kept."""
        places: Places = {}
        for image in range(count if self.most else 0):
            number = self.seen + image
            place = number if number < self.most else int(self.random.integers(number + 1))
            if place < self.most:
                places[place] = image
        self.seen += count
        return places


def _checked_labels(images: Tensor, labels: Any, argument: str) -> Tensor:
    if not isinstance(labels, Tensor) or labels.ndim != 1 or not len(labels):
        said = f"of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"{argument} must give labels that are tensors (N,) with an image or more, got {said}")
    if labels.is_floating_point() or labels.is_complex() or len(labels) != len(images) or int(labels.min()) < 0:
        raise ValueError(
            f"{argument}: labels must be whole numbers from 0, one for each of {len(images)} images, got {len(labels)} "
            f"of {labels.dtype} from {labels.min().item()}"
        )
    return labels
