"""`size_sensitivity`: the loss at sizes some pixels larger and smaller, on the same batches with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

from dynpool.common.arguments import check_flags, check_model, is_number, is_whole
from dynpool.conversion import convert, thawed
from dynpool.graph import check_input_size, deep_copy, untouched
from dynpool.resizers import host_alphas, learned_resizers
from dynpool.resolution import ResolutionTree, contained, frozen_sizes, is_converted, resolution_tree, unwrapped
from dynpool.size_math import AXES, PerAxis

from ..common.batches import checked_pair
from ..common.statistics import MeanStd
from .moves import Direction, alphas_with, directions, moved, pixels_per_alpha
from .report import SensitivityReport
from .row import SensitivityRow

__all__ = ["size_sensitivity"]

Loss = Callable[[Any, Any], Any]
Progress = Callable[[int, int | None], object]


@torch.inference_mode(False)
def size_sensitivity(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Loss = F.cross_entropy,
    *,
    steps: Sequence[int] = (1, 2, 4),
    input_size: Sequence[int] | None = None,
    training: bool = False,
    progress: Progress | None = None,
) -> SensitivityReport:
    """How the loss changes with a few pixels more or less of each learned size, beside the gradient that moves it.

    For each learned resolution and axis, the loss at -4, -2, -1, +1, +2 and +4 pixels minus the loss at the present
    size, on the same batch, with the weights as they are and all other learned sizes held (the strides of the layers
    that resize from this one change to that end). Weights have adapted to the present sizes, so that both sides
    usually rise; the side on which the loss rises less is where the size would go. `slope` measures it, the central
    difference of the smallest step that can be taken both ways. Beside it is the gradient of the loss to alpha (for
    DynOPool the surrogate of Jang et al., CVPR 2022), converted to pixels by the chain rule, d loss / d size =
    d loss / d alpha / (d size / d alpha), so that it compares with `slope`: below zero, gradient descent enlarges the
    map. It is that of `loss` alone, without a GMACs term.

    The measurement runs on a copy: the model's sizes, alphas, weights, buffers, mode and hooks and all random states
    stay as they are, also after an error or Ctrl-C. It takes one forward pass per batch and reachable size, and one
    forward and backward pass per batch, at no more memory than a training step and a copy of the weights.

    Args:
        model: a converted model, a frozen one, or a plain one. A plain model is converted with `preserve=True`, at
            whose present sizes outputs equal the model's up to rounding, with the warnings of `convert` if they cannot;
            its other sizes are those of the conversion with order="after". A frozen DynOPool model gets its alphas
            back; outputs equal its own up to rounding. For another conversion, pass the converted model.
        batches: pairs (input, target); inputs (N, C, H, W), (N, C, L) or (N, C, D, H, W) of one size. Read once, one
            batch at a time, each moved to the model's device. Each batch counts once, whatever its number of images.
        loss: called as loss(output, target); returns one number. If no gradient flows through it, as through an error
            rate, the report has no gradients.
        steps: numbers of pixels, each measured in both directions.
        input_size: (C, H, W) of the inputs; None: that of the first batch.
        training: measure in training mode: with dropout, the same draws at each size, and with the statistics of the
            batch. By default the model is in eval mode, with the running statistics of batch norm as they are: those of
            the present sizes.
        progress: called as progress(passes done, passes in all) before the first pass and after each; the latter is
            None if `batches` has no length.

    Returns:
        A report with one row per resolution and axis ("both" if one number serves both axes). A step whose size cannot
        be reached (bounds, limits, multiples, sizes that move together) is absent from `differences`, and its reason is
        in `unreachable`. Losses that are not finite are not an error: differences are then infinite or NaN.

    Raises:
        TypeError: for an argument of a wrong type, or a `loss` that does not return one number.
        ValueError: for a bad argument, no batch, inputs of different sizes, or a model with hand-placed resizers or
            nothing to learn.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...>
        >>> vgg = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1),
        ...                     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> batches = [(torch.randn(8, 3, 16, 16), torch.randint(4, (8,))) for _ in range(3)]
        >>> report = size_sensitivity(convert(vgg, (3, 16, 16)), batches, steps=(1,))
        >>> [(row.name, row.axis, sorted(row.differences)) for row in report.rows], report.passes
        ([('1', 'height', [-1, 1]), ('1', 'width', [-1, 1])], 18)
    """
    check_model(model)
    check_flags(training=training)
    size = None if input_size is None else check_input_size(input_size)
    wanted = _checked_steps(steps)
    for name, function in (("loss", loss), ("progress", progress)):
        if not callable(function) and not (name == "progress" and function is None):
            raise TypeError(f"{name} must be callable, got {function!r}")
    if not isinstance(batches, Iterable) or isinstance(batches, (Tensor, str)):
        raise TypeError(f"batches must be an iterable of pairs (input, target), got {type(batches).__name__}")
    with untouched(model), _random_states_kept():
        probe, axes = None, _axes_of(unwrapped(model), size)
        for number, (images, target) in enumerate(checked_pair(batch, axes=axes) for batch in batches):
            size = size or check_input_size(images.shape[1:])
            if tuple(images.shape[1:]) != size:
                given, expected = ("x".join(map(str, shape)) for shape in (images.shape[1:], size))
                raise ValueError(
                    f"batches: inputs of batch {number} are {given}, not {expected} as the first or as input_size"
                )
            if probe is None:
                probe = _Probe(model, size, wanted, loss, training=training)
                length = len(batches) if isinstance(batches, Sized) else None
                probe.begin(progress, length)
            with _random_states_kept():
                probe.measure(images, target)
        if probe is None:
            raise ValueError("batches is empty: give at least one pair (input, target)")
    return probe.report(type(model).__name__)


class _Probe:
    """A converted copy of a model, the sizes it is measured at, and the losses so far."""

    def __init__(
        self, model: nn.Module, size: tuple[int, ...], steps: Sequence[int], loss: Loss, *, training: bool
    ) -> None:
        self.model, self.size, self.steps, self.loss = _live_copy(model, size), size, steps, loss
        self.model.train(training).requires_grad_(False)
        self.tree = tree = cast("ResolutionTree", resolution_tree(self.model))
        hw = size[1:]
        tree.constrain(trust=float("inf"))  # as before any pass
        tree.ceiling = None
        self.alphas = [resizer.shared_alpha().requires_grad_() for resizer in tree.owners]
        self.own = host_alphas(tree.owners)
        pixels = tree.sizes_at(hw, self.own)
        self.sizes = {i: pixels[i] for i, _, _ in tree.learned}
        self.directions = directions(tree, self.own)
        self.pixels_per_alpha = [pixels_per_alpha(tree, hw, self.own, direction) for direction in self.directions]
        self.settings: list[list[PerAxis]] = [self.own]
        self.at: dict[tuple[Direction, int], int] = {}  # which of the settings
        self.unreachable: dict[tuple[Direction, int], str] = {}
        for direction in self.directions:
            index = tree.learned[direction.learned][0]
            for step in steps:
                sizes = {**self.sizes, index: moved(self.sizes[index], direction, step)}
                try:
                    setting = alphas_with(tree, hw, self.own, sizes)
                except ValueError as error:
                    self.unreachable[direction, step] = str(error)
                    continue
                self.at[direction, step] = len(self.settings)
                self.settings.append(setting)
        self.device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        self.buffers = {buffer: buffer.clone() for buffer in self.model.buffers()}
        self.losses: list[list[float]] = []  # of each batch at all settings
        self.gradients: list[list[float]] = []  # of each batch in all directions, per pixel
        self.images = self.passes = 0
        self.progress: Progress | None = None
        self.total: int | None = None

    def begin(self, progress: Progress | None, batches: int | None) -> None:
        """Report the number of passes for this number of batches."""
        self.progress, self.total = progress, None if batches is None else batches * (len(self.settings) + 1)
        if progress is not None:
            progress(0, self.total)

    def measure(self, images: Tensor, target: Any) -> None:
        """Add the losses and gradients of a batch."""
        images, target = tree_map_only(Tensor, self._usable, (images, target))
        start = _random_states()
        losses = []
        for setting in self.settings:
            with torch.no_grad():
                losses.append(float(self._loss(setting, images, target, start)))
        with torch.enable_grad():
            value = self._loss(self.own, images, target, start)
        if isinstance(value, Tensor) and value.requires_grad:
            found = torch.autograd.grad(value, self.alphas, materialize_grads=True)
            gradients = [gradient.tolist() for gradient in found]
            chained = zip(self.directions, self.pixels_per_alpha, strict=True)
            self.gradients.append([gradients[d.learned][d.entry] / change for d, change in chained])
        self.losses.append(losses)
        self.images += len(images)

    def _usable(self, tensor: Tensor) -> Tensor:
        """The tensor on the model's device, usable in a backward pass."""
        return (tensor.clone() if tensor.is_inference() else tensor).to(self.device)

    def _loss(self, setting: Sequence[PerAxis], images: Tensor, target: Any, random_states: _States) -> Tensor | float:
        with torch.no_grad():
            for alpha, values in zip(self.alphas, setting, strict=True):
                alpha.copy_(torch.tensor(values[: alpha.numel()]))
            for buffer, before in self.buffers.items():  # a pass may have written to it
                buffer.copy_(before)
        self.tree.frozen = setting  # sizes follow from these values, and nothing is projected
        _set_random_states(random_states)
        value = self.loss(self.model(images), target)
        if not is_number(value):
            shape = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise TypeError(f"loss must return one number, got a {type(value).__name__} {shape}")
        self.passes += 1
        if self.progress is not None:
            self.progress(self.passes, self.total)
        return value

    def report(self, model: str) -> SensitivityReport:
        """The report of all batches so far."""
        whole = len(self.gradients) == len(self.losses)
        rows = tuple(self._row(number, d, gradients=whole) for number, d in enumerate(self.directions))
        own = _mean(batch[0] for batch in self.losses)
        return SensitivityReport(
            model,
            self.size,
            len(self.losses),
            self.images,
            self.model.training,
            self.passes,
            own,
            tuple(self.steps),
            rows,
        )

    def _row(self, number: int, direction: Direction, *, gradients: bool) -> SensitivityRow:
        index = self.tree.learned[direction.learned][0]
        at = {step: self.at[direction, step] for step in self.steps if (direction, step) in self.at}
        both = [step for step in at if step > 0 and -step in at]
        nearest = min(both, default=None)
        slope = None
        if nearest is not None:
            up, down = at[nearest], at[-nearest]
            slope = _mean((batch[up] - batch[down]) / (2 * nearest) for batch in self.losses)
        return SensitivityRow(
            name=self.tree.nodes[index].name,
            axis=direction.label,
            size=self.sizes[index],
            differences={step: _mean(batch[k] - batch[0] for batch in self.losses) for step, k in at.items()},
            unreachable={step: self.unreachable[direction, step] for step in self.steps if step not in at},
            gradient=_mean(batch[number] for batch in self.gradients) if gradients else None,
            slope=slope,
        )


def _mean(values: Iterable[float]) -> MeanStd:
    """Mean and standard deviation over the batches, of which there is at least one."""
    return cast("MeanStd", MeanStd.from_values(values))


def _axes_of(model: nn.Module, size: tuple[int, ...] | None) -> Collection[int]:
    """The numbers of spatial axes that inputs may have: one, if the model's conversion or an input size says it."""
    frozen = frozen_sizes(model)
    tree = resolution_tree(model) if frozen is None else frozen.tree
    known = size if tree is None else tree.input_size
    return AXES if known is None else (len(known) - 1,)


def _live_copy(model: nn.Module, size: tuple[int, ...]) -> nn.Module:
    """A copy of a model with learned sizes, at the model's present ones."""
    model = unwrapped(model)
    if frozen_sizes(model) is not None:
        return thawed(model)
    if resolution_tree(model) is not None:
        return deep_copy(model)
    name = type(model).__name__
    for path in contained(model, lambda module: is_converted(module) or frozen_sizes(module) is not None):
        raise ValueError(f"model: the {name} is neither converted nor frozen, but its child {path!r} is: pass that")
    if learned_resizers(model):
        raise ValueError(
            f"model: the {name} has hand-placed resizers, whose sizes cannot be kept: convert the original"
        )
    return convert(model, size, preserve=True)


def _checked_steps(steps: Sequence[int]) -> tuple[int, ...]:
    """All steps, negative and positive, in rising order."""
    listed = isinstance(steps, (tuple, list)) and len(steps) > 0 and all(is_whole(step) for step in steps)
    if not listed or min(steps) < 1 or len({int(step) for step in steps}) < len(steps):
        raise ValueError(f"steps must be different numbers of pixels above 0, one or more, got {steps!r}")
    each = sorted(map(int, steps))
    return (*(-step for step in reversed(each)), *each)


_States = list[Tensor]


def _random_states() -> _States:
    """The states of PyTorch's generators: of the CPU, then of each GPU if any is in use."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *gpus]


def _set_random_states(states: _States) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])


@contextmanager
def _random_states_kept() -> Iterator[None]:
    states = _random_states()
    try:
        yield
    finally:
        _set_random_states(states)
