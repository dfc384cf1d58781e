"""`inspect`: which layers of a trained model work, beside the receptive fields that predict it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
from torch import nn

from dynpool.common.arguments import check_flags, check_model, check_numbers, check_whole
from dynpool.graph import TraceError, check_input_size
from dynpool.resolution import unwrapped

from .activations import Activations, Tell, collect
from .fields_of_layers import LayerFields, layer_fields
from .heatmaps import HeatMap, heat_map
from .layer_names import checked_names, layer_names
from .probes import Probe, check_classes, fit_probe
from .report import InspectionReport
from .row import InspectionRow
from .saturation import layer_saturation
from .tail import find_border, find_tail

__all__ = ["inspect"]

Progress = Callable[[str, int, int | None], object]

HELD_OUT = 4  # one part in so many of the memory is for held-out images


def inspect(
    model: nn.Module,
    train_batches: Iterable[Any],
    test_batches: Iterable[Any],
    *,
    input_size: Sequence[int] | None = None,
    layers: Sequence[str] | None = None,
    probes: bool = True,
    saturation: bool = True,
    heatmaps: Sequence[str] = (),
    threshold: float = 0.99,
    tolerance: float = 0.01,
    low: float = 0.5,
    grid: int = 4,
    iterations: int = 1000,
    memory: int = 2**31,
    seed: int = 0,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> InspectionReport:
    """Which layers of a trained model work: probes, saturation and receptive fields, layer by layer.

    For each layer, a logistic regression on its activations (averaged to 4x4 cells) says how far the task is solved
    there, and the saturation how many directions of its feature space are in use. Where probes stop improving, the tail
    begins; the border layer is where the receptive field predicts it (Richter et al., "Size Matters", 2021).

    It takes one forward pass over each of the two sets, in eval mode on a copy: the model, its mode, hooks and buffers
    and all random states stay as they are, also after an error or Ctrl-C. The same data give the same report.

    Args:
        model: any trained module, plain, converted or frozen.
        train_batches: pairs (images, labels): (N, C, H, W) of one size, and (N,) whole numbers from 0. Probes are
            fitted to these, without augmentation, and the saturation is theirs. Read once.
        test_batches: held-out pairs, on which probes and the model are scored. Read once.
        input_size: (C, H, W) of the images; None: that of the first batch.
        layers: paths of modules; None: all convolutions and linear layers that run.
        probes: fit probes.
        saturation: measure saturation.
        heatmaps: paths of layers that get a probe at each position of their map; larger maps are averaged to 16x16.
        threshold: share of the variance that saturation explains.
        tolerance: of the tail, on the relative accuracy, see `Tail`.
        low: share of the highest saturation below which it counts as low, see `Tail`.
        grid: cells per axis that probes see of a map.
        iterations: of each probe's solver at most; a probe that has not converged is marked.
        memory: bytes of activations to keep at most. Where more images come, probes see a sample of them, with a
            notice. A fit takes two more copies of the features of its layer.
        seed: of that sample.
        progress: called as progress(what, done, in all), where `what` is "training images", "held-out images", "probes"
            or "positions"; the last is None where the number of batches is not known.
        tell: called with a sentence on the memory before each pass, and with each notice.

    Raises:
        TypeError: for an argument of a wrong type.
        ValueError: for a bad argument, a layer that does not exist (the nearest is named), images of another size or
            other classes, a single class, fewer images than classes, or NaN or infinite activations.
        MemoryError: if the device has no memory left for a batch.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        ...                     nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> labels = torch.arange(64) % 2
        >>> batch = (torch.randn(64, 1, 8, 8) + labels.view(-1, 1, 1, 1), labels)
        >>> report = inspect(net, [batch], [batch])
        >>> [(row.name, row.r_min, row.unproductive) for row in report.rows]
        [('0', (3.0, 3.0), False), ('3', (8.0, 8.0), False), ('6', None, None)]
    """
    check_model(model)
    check_flags(probes=probes, saturation=saturation)
    check_whole(1, grid=grid, iterations=iterations, memory=memory)
    check_numbers("a number above 0 and below 1", lambda value: 0 < value < 1, threshold=threshold)
    find_tail((), tolerance=tolerance, low=low)  # checks them before the pass
    for name, function in (("progress", progress), ("tell", tell)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be callable or None, got {function!r}")
    inner = unwrapped(model)
    layer_names(inner, layers)
    maps = checked_names(inner, heatmaps, "heatmaps")
    size = None if input_size is None else check_input_size(input_size)
    needs_images = probes or len(maps) > 0
    told: list[str] = []

    def say(sentence: str) -> None:
        if tell is not None:
            tell(sentence)

    def gather(what: str, batches: Iterable[Any], share: int) -> Activations:
        def count(done: int, total: int | None) -> None:
            if progress is not None:
                progress(what, done, total)

        found = collect(
            model, batches, layers, features=probes, moments=saturation and what == TRAINING, maps=maps, grid=grid,
            input_size=size, memory=share, seed=seed, argument=ARGUMENTS[what],
            progress=count, tell=lambda sentence: say(f"{what}: {sentence}"),
        )  # fmt: skip
        told.extend(f"{what}: {notice}" for notice in found.notices if what == TRAINING or "maps" not in notice)
        return found

    held_out_share = memory // HELD_OUT
    train = gather(TRAINING, train_batches, memory - held_out_share)
    size = train.size
    test = gather(HELD, test_batches, held_out_share)
    if needs_images:
        check_classes(train.labels, test.labels)
    try:
        fields = layer_fields(inner, size)
    except TraceError as error:
        fields = {}
        told.append(f"receptive fields are not known: {error}")
        say(told[-1])
    rows = []
    for number, (name, layer) in enumerate(train.layers.items()):
        if probes and progress is not None:
            progress("probes", number, len(train.layers))
        probe = None
        if layer.features is not None:
            probe = fit_probe(
                layer.features,
                train.labels,
                cast("Any", test.layers[name].features),
                test.labels,
                iterations=iterations,
            )
        rows.append(_row(train, test, name, fields.get(name), probe, threshold))
    if probes and progress is not None:
        progress("probes", len(train.layers), len(train.layers))
    border = find_border(rows, size[1:])
    return InspectionReport(
        model=type(inner).__name__,
        input_size=size,
        train_images=train.images,
        test_images=test.images,
        probe_images=len(train.labels),
        accuracy=test.accuracy,
        threshold=float(threshold),
        rows=tuple(rows),
        tail=find_tail(rows, tolerance=tolerance, low=low),
        border=border,
        heatmaps=_heat_maps(train, test, iterations, progress),
        notices=tuple(told),
    )


TRAINING, HELD = "training images", "held-out images"
ARGUMENTS = {TRAINING: "train_batches", HELD: "test_batches"}


def _row(
    train: Activations, test: Activations, name: str, fields: LayerFields | None, probe: Probe | None, threshold: float
) -> InspectionRow:
    layer, moments = train.layers[name], train.layers[name].moments
    return InspectionRow(
        name=name,
        kind=layer.kind,
        size=layer.size,
        channels=layer.channels,
        r_min_in=None if fields is None else fields.r_min_in,
        r_max_in=None if fields is None else fields.r_max_in,
        r_min=None if fields is None else fields.r_min,
        r_max_local=None if fields is None else fields.r_max_local,
        unproductive=None if fields is None else fields.unproductive,
        probe=probe,
        relative=probe.accuracy / test.accuracy if probe is not None and test.accuracy else None,
        saturation=None if moments is None else layer_saturation(moments.covariance, threshold),
        samples=0 if moments is None else moments.samples,
    )


def _heat_maps(
    train: Activations, test: Activations, iterations: int, progress: Progress | None
) -> tuple[HeatMap, ...]:
    wanted = {name: layer.maps for name, layer in train.layers.items() if layer.maps is not None}
    total, done = sum(maps.shape[2] * maps.shape[3] for maps in wanted.values()), 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("positions", done, total)

    found = []
    for name, maps in wanted.items():
        height, width = train.layers[name].size
        held_out = cast("np.ndarray", test.layers[name].maps)
        found.append(
            heat_map(
                name, (height, width), maps, train.labels, held_out, test.labels, iterations=iterations, done=count
            )
        )
    return tuple(found)
