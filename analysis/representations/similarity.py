"""`cka`: how similar the layers of two networks are on the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dynpool.common.arguments import check_flags, check_whole
from dynpool.resolution import unwrapped

from ..common.batches import check_batches, check_progress, checked, random_states_kept
from ..common.statistics import plural
from ..fields import FieldReport
from .hsic import FullBatchSums, UnbiasedSums
from .layer_outputs import LayerOutputs
from .similarity_report import CKAReport

__all__ = ["cka"]

Progress = Callable[[int, int | None], object]
Sums = FullBatchSums | UnbiasedSums


@torch.inference_mode(False)
def cka(
    model_a: nn.Module,
    model_b: nn.Module,
    batches: Iterable[Any],
    *,
    layers: Sequence[str] | None = None,
    layers_b: Sequence[str] | None = None,
    pooled: bool = True,
    unbiased: bool = False,
    most_bytes: int = 2**32,
    progress: Progress | None = None,
) -> CKAReport:
    """Linear centred kernel alignment of all pairs of layers of two networks, such as those of two seeds.

    CKA(X, Y) = |X^T Y|^2 / (|X^T X| |Y^T Y|) for centred features X and Y, (images, features), of two layers, with
    Frobenius norms: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, Section 3.
    It is 1 for features that agree up to rotation and scale, and 0 for uncorrelated ones. With fewer images than
    features it is biased upwards, as a notice then says. `unbiased` takes the ratio of unbiased estimates of HSIC,
    each averaged over batches: Nguyen, Raghu and Kornblith, "Do Wide and Deep Networks Learn the Same Things?", ICLR
    2021, Eq. 2 to 4. These can lie slightly below 0 and above 1.

    Both models run in eval mode, on copies: their weights, buffers, modes, hooks and random states stay as they are.
    All sums are in float64. Over all images, they take 8 bytes for each pair of a feature of `model_a` and one of
    `model_b`, whatever the number of images. `unbiased` takes 8 x images of a batch^2 bytes a layer.

    Args:
        model_a: any model, also a converted or frozen one, at the sizes that it has. Wrappers such as
            DistributedDataParallel are looked through.
        model_b: another one, with the same input size; layers may differ.
        batches: inputs (N, C, H, W) of one size, or pairs (input, target) of which the target is not used. Read once;
            both models see the same batches.
        layers: names of the layers, as in `named_modules()`; None: all convolutions and linear layers of each model.
        layers_b: names of the layers of `model_b`, if they differ.
        pooled: features are the means of channels over all positions; else all channels at all positions, which needs
            `unbiased` except for tiny maps.
        unbiased: average unbiased estimates over batches, each of which counts once. Batches of fewer than four images
            are left out, with a notice.
        most_bytes: memory that the sums may take.
        progress: called as progress(batches done, batches in all) after each batch; the latter is None if `batches`
            has no length.

    Returns:
        The report: one value for each layer of `model_a` and of `model_b`, in order of execution, and the border layer
        of each model at this input size. Where a layer gives the same for all images, values are NaN, with a notice.

    Raises:
        TypeError: for an argument of a wrong type.
        ValueError: for a bad argument, a layer that does not exist or run, activations that are not finite, too few
            images, or sums that would take more than `most_bytes`.

    Example:
        >>> nets = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3)) for seed in range(2)]
        >>> report = cka(*nets, [torch.randn(32, 3, 8, 8)])
        >>> report.layers_a, report.layers_b, report.images
        (('0', '2'), ('0', '2'), 32)
    """
    for argument, model in (("model_a", model_a), ("model_b", model_b)):
        if not isinstance(model, nn.Module):
            raise TypeError(f"{argument} must be an nn.Module, got {type(model).__name__}")
    model_a, model_b = unwrapped(model_a), unwrapped(model_b)
    check_batches(batches)
    check_flags(pooled=pooled, unbiased=unbiased)
    check_whole(1, most_bytes=most_bytes)
    check_progress(progress)
    first = LayerOutputs("model_a", model_a, layers, "layers", pooled=pooled)
    second = LayerOutputs(
        "model_b", model_b, *((layers, "layers") if layers_b is None else (layers_b, "layers_b")), pooled=pooled
    )
    sums: Sums = UnbiasedSums() if unbiased else FullBatchSums()
    total = len(batches) if isinstance(batches, Sized) else None
    size: tuple[int, ...] = ()
    layers_of: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    used = memory = 0
    with random_states_kept(model_a, model_b):
        for number, (images, _) in enumerate(checked(batches, targets=False)):
            size = tuple(images.shape[1:])
            if not unbiased or len(images) >= sums.LEAST:
                layers_of = (first(images, number), second(images, number))
                if not used:
                    memory = _memory(sums, layers_of, len(images), most_bytes, pooled=pooled)
                sums.add(*(list(found.values()) for found in layers_of))
                used += 1
            if progress is not None:
                progress(number + 1, total)
            left_out = number + 1 - used
    if sums.images < sums.LEAST:
        wanted = f"{sums.LEAST} images or more" + " in one batch, as unbiased=True" * unbiased
        raise ValueError(f"batches: expected {wanted}, got {plural(sums.images, 'image')} that can be used")
    values = sums.matrix()
    borders = [
        _Border.of(argument, model, size, list(found))
        for argument, model, found in zip(("model_a", "model_b"), (model_a, model_b), layers_of, strict=True)
    ]
    notices = [border.notice for border in borders if border.notice]
    notices += _constant(values, layers_of)
    widest = max(found.shape[1] for layers in layers_of for found in layers.values())
    if not unbiased and sums.images < widest:
        notices.append(
            f"{sums.images} images are fewer than the {widest} features of the widest layer, which makes values too "
            "high: give more images, or unbiased=True"
        )
    if left_out:
        notices.append(f"left out: {left_out} of {left_out + used} batches, which have fewer than {sums.LEAST} images")
    return CKAReport(
        model_a=type(model_a).__name__,
        model_b=type(model_b).__name__,
        input_size=size,
        layers_a=tuple(layers_of[0]),
        layers_b=tuple(layers_of[1]),
        values=tuple(tuple(row) for row in values.tolist()),
        images=sums.images,
        batches=used,
        pooled=bool(pooled),
        unbiased=bool(unbiased),
        border_layer_a=borders[0].layer,
        border_layer_b=borders[1].layer,
        border_a=borders[0].index,
        border_b=borders[1].index,
        memory=memory,
        notices=tuple(notices),
    )


def _memory(
    sums: Sums, layers: tuple[dict[str, Tensor], dict[str, Tensor]], images: int, most: int, *, pooled: bool
) -> int:
    """Bytes that the sums take for layers with such outputs; raises ValueError if they are too many."""
    widths = [[features.shape[1] for features in found.values()] for found in layers]
    memory = sums.memory(widths[0], widths[1], images)
    if memory > most:
        unbiased = isinstance(sums, UnbiasedSums)
        other = UnbiasedSums.memory(widths[0], widths[1], images)
        advice = ["smaller batches" if unbiased else f"unbiased=True ({other:,} bytes)", "fewer layers"]
        advice += ["pooled=True"] * (not pooled and not unbiased)
        raise ValueError(
            f"the sums of {len(widths[0])} x {len(widths[1])} layers take {memory:,} bytes, more than "
            f"most_bytes={most:,}: choose {', '.join(advice)}, or allow it"
        )
    return memory


@dataclass(frozen=True)
class _Border:
    """The border layer of a model, the index of the first of the compared layers from there on, and what to say."""

    layer: str | None
    index: int | None
    notice: str

    @classmethod
    def of(cls, argument: str, model: nn.Module, size: tuple[int, ...], compared: list[str]) -> _Border:
        try:
            fields = FieldReport.of(model, (size[0], *size[1:]))
        except ValueError as error:
            return cls(None, None, f"{argument}: no border layer, as its receptive fields are unknown: {error}")
        border = fields.border_layer
        if border is None:
            return cls(None, None, "")
        names = [row.name for row in fields.layers]
        behind = set(names[names.index(border) :]) - set(names[: names.index(border)])
        return cls(border, next((k for k, name in enumerate(compared) if name in behind), None), "")


def _constant(values: Tensor, layers: tuple[dict[str, Tensor], dict[str, Tensor]]) -> list[str]:
    """Notices of the layers all of whose values are NaN."""
    notices = []
    for argument, found, dead in (
        ("model_a", layers[0], values.isnan().all(1)),
        ("model_b", layers[1], values.isnan().all(0)),
    ):
        names = [name for name, is_dead in zip(found, dead.tolist(), strict=True) if is_dead]
        if names and not bool(values.isnan().all()):
            notices.append(f"{argument}: {', '.join(map(repr, names))} give the same for all images")
    if bool(values.isnan().all()):
        notices.append("all layers of one of the models give the same for all images")
    return notices
