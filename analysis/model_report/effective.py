"""The effective receptive field: the gradient of a layer's centre unit with respect to each input pixel.

Reference: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NIPS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynpool.common.arguments import check_model, check_whole
from dynpool.common.extras import optional
from dynpool.common.names import nearest
from dynpool.resolution import unwrapped

from ..fields import LayerRow
from .plots.marks import centre_unit
from .receptive_field import ReceptiveFieldReport, receptive_field

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EffectiveField", "effective_receptive_field"]

TAIL = 1 - 0.9545  # the mass beyond two standard deviations of a Gaussian: Luo et al.'s edge of the effective field
BATCH = 4  # images in one pass, so that a large network fits into memory


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """The result of `effective_receptive_field`. `str()` gives one line, `plot()` draws it.

    Attributes:
        layer: name of the layer whose centre unit was measured.
        unit: position of that unit in the layer's output.
        input_size: (C, *spatial) in pixels.
        gradient: of shape (*spatial), float64: |d unit / d pixel|, with the unit summed over its channels and the
            absolute value averaged over the images and over the channels of the input.
        region: per axis the first and last pixel of the theoretical receptive field, which may lie outside the image;
            infinite where the field is global.
        samples: number of images averaged.
    """

    layer: str
    unit: tuple[int, ...]
    input_size: tuple[int, ...]
    gradient: NDArray[np.float64]
    region: tuple[tuple[float, float], ...]
    samples: int

    @property
    def projection(self) -> tuple[NDArray[np.float64], ...]:
        """The gradient projected onto each axis, one value per pixel: its sum over all other axes."""
        axes = range(self.gradient.ndim)
        return tuple(self.gradient.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes)

    @property
    def max_projected_gradient(self) -> tuple[float, ...]:
        """The largest value of the projection onto each axis."""
        return tuple(float(line.max()) for line in self.projection)

    @property
    def size(self) -> float:
        """Side in pixels of the effective field; 0 if all gradients are zero.

        Luo et al.'s measure: the side of a square (interval, cube) with as many pixels as have a gradient above 4.55 %
        of the largest one.
        """
        inside = int((self.gradient > TAIL * self.gradient.max()).sum())
        return float(inside ** (1 / self.gradient.ndim))

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data; an infinite bound of the region is the string "inf" or "-inf"."""
        return {
            "layer": self.layer,
            "unit": list(self.unit),
            "input_size": list(self.input_size),
            "samples": self.samples,
            "size": self.size,
            "max_projected_gradient": list(self.max_projected_gradient),
            "region": [[end if math.isfinite(end) else str(end) for end in ends] for ends in self.region],
            "projection": [line.tolist() for line in self.projection],
        }

    def plot(self) -> Figure:
        """A plot of the gradient with the theoretical receptive field outlined, and of its projections.

        Raises:
            ValueError: for three spatial axes, which cannot be plotted.
        """
        with optional():
            from .plots.effective import plot_effective
        return plot_effective(self)

    def __str__(self) -> str:
        sides = "x".join(_side(first, last) for first, last in self.region)
        return (
            f"effective receptive field of {self.layer} at {'x'.join(map(str, self.input_size[1:]))}: "
            f"{self.size:.1f} pixels per side (theoretical field: {sides}); largest projected gradient "
            + " x ".join(f"{value:.3g}" for value in self.max_projected_gradient)
        )


def _side(first: float, last: float) -> str:
    return f"{last - first + 1:.0f}" if math.isfinite(last - first) else "all"


def effective_receptive_field(
    model: nn.Module,
    input_size: Sequence[int],
    *,
    layer: str | None = None,
    images: Tensor | None = None,
    samples: int = 16,
    seed: int = 0,
) -> EffectiveField:
    """The gradient of a layer's centre unit with respect to each input pixel, averaged over images (Luo et al.).

    The model runs in eval mode on its own device and is left unchanged; its parameters receive no gradient.

    Args:
        model: any module that takes one batch of images. Unlike for `receptive_field`, its weights matter.
        input_size: (C, H, W) in pixels; (C, L) or (C, D, H, W) for models of one or three spatial axes.
        layer: name of a row of `receptive_field(model, input_size).layers`; default: the last one.
        images: of shape (N, *input_size); default: `samples` images of standard normal noise.
        samples: number of random images.
        seed: seed of the noise.

    Raises:
        TypeError: for an argument of a wrong type.
        ValueError: for a bad `input_size`, an unknown layer, a layer that is not a module, images of another size, or
            `samples` below 1.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...>
        >>> stack = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(5)))
        >>> field = effective_receptive_field(stack, (3, 32, 32))
        >>> field.region, field.size < 11  # the gradient is small at the corners of the theoretical field
        (((11, 21), (11, 21)), True)
    """
    check_whole(1, samples=samples)
    check_whole(-(2**63), seed=seed)
    if layer is not None and not isinstance(layer, str):
        raise TypeError(f"layer must be a str, got {layer!r}")
    if images is not None and not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, got {type(images).__name__}")
    check_model(model)
    model = unwrapped(model)
    report = receptive_field(model, input_size)
    size = report.input_size
    row = _row(report, layer)
    if images is not None and (images.ndim != len(size) + 1 or tuple(images.shape[1:]) != size or not len(images)):
        raise ValueError(f"images must have the shape (N, {', '.join(map(str, size))}), got {tuple(images.shape)}")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    if images is None:
        images = torch.randn((samples, *size), generator=torch.Generator().manual_seed(seed))
    unit = centre_unit(row)
    total = torch.zeros(size[1:], dtype=torch.float64)
    with _eval_mode(model):
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH].to(like)
            total += _gradient(model, batch, row, unit).abs().mean(dim=1).sum(dim=0).double().cpu()
    return EffectiveField(
        layer=row.name,
        unit=unit,
        input_size=size,
        gradient=(total / len(images)).numpy(),
        region=tuple(row.region(unit)),
        samples=len(images),
    )


def _row(report: ReceptiveFieldReport, layer: str | None) -> LayerRow:
    """The row of the named layer, or the last row."""
    if not report.layers:
        raise ValueError("the model has no layer with a receptive field")
    if layer is None:
        return report.layers[-1]
    for row in report.layers:
        if row.name == layer:
            return row
    raise ValueError(f"the model has no layer {layer!r}{nearest(layer, [r.name for r in report.layers])}")


def _gradient(model: nn.Module, batch: Tensor, row: LayerRow, unit: tuple[int, ...]) -> Tensor:
    """The gradient of each image's unit (summed over its channels) with respect to that image; shape of the batch."""
    with torch.enable_grad():
        pixels = batch.detach().requires_grad_()
        out = _output(model, pixels, row)
        (gradient,) = torch.autograd.grad(out.movedim((0, 1), (-2, -1))[unit].sum(), pixels)
    return gradient


def _output(model: nn.Module, batch: Tensor, row: LayerRow) -> Tensor:
    """The output of the row's module before its own hooks, such as the resizer of a converted layer."""
    path, _, number = row.name.partition("#")
    modules = dict(model.named_modules())
    children = [module for name, module in modules.items() if name.startswith(f"{path}.")]
    outputs: list[Any] = []
    running = nested = 0

    def enter(module: nn.Module, args: Any) -> None:
        nonlocal running
        running += 1

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        nonlocal running
        running -= 1
        outputs.append(out.clone() if isinstance(out, Tensor) else out)  # an in-place activation may follow

    def enter_child(module: nn.Module, args: Any) -> None:
        nonlocal nested
        nested += running

    if path in modules and path:
        handles = [
            modules[path].register_forward_pre_hook(enter),
            modules[path].register_forward_hook(leave, prepend=True),
            *(module.register_forward_pre_hook(enter_child) for module in children),
        ]
        try:
            model(batch)
        finally:
            for handle in handles:
                handle.remove()
    call = int(number or 1) - 1
    found = outputs[call] if call < len(outputs) else None
    if isinstance(found, Tensor) and getattr(modules[path], "data_format", None) == "channels_last":
        found = found.movedim(-1, 1)  # a layer of Keras
    axes = len(row.r_max)
    if nested or not isinstance(found, Tensor) or found.ndim != axes + 2 or found.shape[-axes:] != row.shape[-axes:]:
        raise ValueError(f"layer {row.name!r} is not a module that runs as one operation: choose one that is")
    return found


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """A context in eval mode, which restores the mode of each module."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
