"""Seconds of a forward pass as a function of the learned sizes, from measurements of every layer on a device."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dynpool.common.arguments import check_model, check_whole
from dynpool.graph import check_input_size, deep_copy
from dynpool.resizers import LearnedResizer, host_alphas, learned_resizers, set_alpha
from dynpool.resolution import resolution_tree
from dynpool.size_math import PerAxis, Size, axes_text

from .clock import Clock, Key, seconds_of
from .cost_model import CostModel, amount_at
from .curve import Curve, fitted_line
from .surrogate import Surrogate
from .work import Amount, amounts_of_work

__all__ = ["LatencyCheck", "LatencyModel"]

_FORMAT = 1
_FEWEST = 4  # sets of sizes
_WHOLE, _AXIS = 0.5, 0.35  # how far the logarithms of map sizes are drawn: of all maps together, of each one's axes


@dataclass(frozen=True)
class LatencyCheck:
    """One comparison of a prediction with a measurement: `sizes` are the learned ones in pixels, times in seconds."""

    sizes: dict[str, Size]
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """The relative error of the prediction."""
        return self.predicted / self.measured - 1


@dataclass
class _Measured:
    """Repeated passes at one set of sizes: seconds of each as a whole, and of its operations in others."""

    alphas: list[PerAxis]
    wholes: list[float] = field(default_factory=list)
    clocks: list[dict[Key, float]] = field(default_factory=list)

    def whole(self) -> float:
        return statistics.median(self.wholes)

    def layers(self) -> dict[Key, float]:
        keys = dict.fromkeys(key for clock in self.clocks for key in clock)
        return {key: statistics.median(clock.get(key, 0.0) for clock in self.clocks) for key in keys}


class LatencyModel:
    """Seconds of a forward pass at the learned sizes on a device, as a scalar with a gradient to every alpha.

    A copy of the model runs at some sets of sizes around the present ones, in eval mode and without gradients. Each
    time, every operation is timed, and the pass as a whole. Between the measured sizes the seconds of each layer are
    interpolated over its work, which is its MACs or, if it has none, the elements that it reads and writes. A pass
    takes the sum over its layers times a factor, plus a constant, both fitted to the passes as a whole: what Python and
    launches cost. The gradient is that of the continuous surrogate of sizes, as in :class:`GMACsLoss`.

    Times are those of this device, this number of threads and this batch, and no better than the machine is quiet:
    :meth:`check` tells the error at sizes that were not measured.

    Args:
        model: a converted model, or one with hand-placed resizers. It is not changed.
        input_size: (C, H, W) in pixels, (C, L) or (C, D, H, W).
        device: where to measure. None: where the model's weights are.
        batch: images in a pass, whose seconds count. None: those of `inputs` or of the conversion, else one.
        inputs: the arguments of the model's forward, batch included, if images are not enough; see
            :func:`dynpool.convert`.
        dtype: of the images; default: that of the weights.
        configurations: number of sets of sizes that are measured, at least 4.
        repeats: passes that are timed at each of them, in each of the two ways; medians count.
        seed: of the sizes.
        measurements: those of another LatencyModel of the same model (:meth:`to_dict`), instead of new ones; they say
            which device they are of.

    Raises:
        TypeError: if `model` is not an nn.Module.
        ValueError: for a bad argument, a model without learned resolutions or one that learns kernels, one that cannot
            run at `input_size`, one that runs other layers at other sizes, or measurements of another model.

    Example:
        >>> import dynpool
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), dynpool.DynOPool2d(), nn.Conv2d(8, 8, 3, padding=1))
        >>> latency = dynpool.LatencyModel(model, (3, 32, 32), configurations=4, repeats=1)
        >>> latency().backward()  # seconds, to be added to a loss with a weight
        >>> model[1].alpha.grad.shape
        torch.Size([2])
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: nn.Module,
        input_size: Sequence[int],
        *,
        device: torch.device | str | None = None,
        batch: int | None = None,
        inputs: Any = None,
        dtype: torch.dtype | None = None,
        configurations: int = 16,
        repeats: int = 3,
        seed: int = 0,
        measurements: Mapping[str, Any] | None = None,
    ) -> None:
        check_model(model)
        check_whole(1, repeats=repeats, **({} if batch is None else {"batch": batch}))
        check_whole(_FEWEST, configurations=configurations)
        check_whole(0, seed=seed)
        if seed >= 2**63:
            raise ValueError(f"seed={seed!r}: expected an integer below 2**63")
        if measurements is not None and not isinstance(measurements, Mapping):
            raise TypeError(f"measurements={measurements!r}: expected a dict, as to_dict() gives it")
        self.input_size = check_input_size(input_size)
        self.repeats = repeats
        self.cost = CostModel(model, self.input_size, inputs=inputs, batch=batch, dtype=dtype)
        self.batch = self.cost.graph.batch
        name = type(model).__name__
        if not self.cost.owners:
            raise ValueError(f"model is a {name}, which has no learned resolution")
        if any(p.requires_grad for layer in self.cost.kernels.values() for p in layer.size_parameters()):
            raise ValueError(
                f"model is a {name} that learns kernels, whose sizes are not measured: set requires_grad=False on what "
                "determines them, or freeze them"
            )
        if not self.cost.exact:
            raise ValueError(
                f"model is a {name}, which runs other layers at other sizes: its latency has no closed form"
            )
        if measurements is not None and device is None:
            device = str(measurements.get("device", "cpu"))
        weights = next(self.cost.model.parameters(), None)
        own = torch.device("cpu") if weights is None else weights.device
        self.device = _device(own if device is None else device, there=measurements is None)
        self._draw = torch.Generator("cpu").manual_seed(seed)
        self._surrogate = Surrogate(self.cost)
        self._amounts = amounts_of_work(self.cost.graph)
        self._cached: tuple[tuple[PerAxis, ...], dict[Key, float]] = ((), {})
        if measurements is None:
            on_gpu = [self.device] if self.device.type == "cuda" else []
            with torch.random.fork_rng(devices=on_gpu):  # the model may draw random numbers
                self._measure(configurations)
        else:
            self._read(measurements)
        listed = [(key, *self._surrogate.factors(axes), amount) for key, each in self._works() for amount, axes in each]
        self._keys = [key for key, _, _, _ in listed]
        self._terms = self._surrogate.terms((factors, amount / whole) for _, factors, whole, amount in listed)

    # --- what is asked ------------------------------------------------------------------------------------------------

    def value(self, alphas: Sequence[PerAxis] | None = None) -> float:
        """Seconds of a pass at the current or the given values of the alphas, computed on the host."""
        owners = self.cost.owners
        values = host_alphas(owners) if alphas is None else list(alphas)
        if len(values) != len(owners):
            one = axes_text(len(self.input_size) - 1)
            raise ValueError(f"alphas has {len(values)} entries; allowed: a {one} for each of {len(owners)}")
        return self._fixed + sum(self._seconds(values).values())

    def __call__(self) -> Tensor:
        """Seconds of a pass as a float32 scalar tensor on the alphas' device."""
        works = self._work_at(host_alphas(self.cost.owners))
        slopes = {key: self._factor * curve.slope(works[key]) for key, curve in self._curves.items()}
        terms = self._surrogate(self._terms)
        weights = torch.tensor([slopes[key] for key in self._keys], dtype=terms.dtype, device=terms.device)
        smooth = (weights * terms).sum()
        return (smooth + (self.value() - smooth.detach())).float()

    def by_layer(self) -> dict[str, float]:
        """Seconds of each module's own operations at the current sizes, by module path, the slowest first.

        The entry "" is for operations of the model's own code, and for what no module accounts for.
        """
        found = {"": self._fixed}
        for (path, _), seconds in self._seconds(host_alphas(self.cost.owners)).items():
            found[path] = found.get(path, 0.0) + seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def check(self, configurations: int = 8) -> list[LatencyCheck]:
        """Predictions beside measurements at new random sizes, of which the model knows nothing.

        Returns:
            one entry for each set of sizes: `sizes` ({name: (height, width)} in pixels), `predicted` and `measured` in
            seconds, `error` (predicted / measured - 1).
        """
        check_whole(1, configurations=configurations)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            measured = self._passes(configurations)
        return [LatencyCheck(self._sizes_at(one.alphas), self.value(one.alphas), one.whole()) for one in measured]

    def to_dict(self) -> dict[str, Any]:
        """The measurements as JSON data, for `measurements=` of another process."""
        curves = [[*key, list(curve.works), list(curve.seconds)] for key, curve in self._curves.items()]
        return {
            "format": _FORMAT, "input_size": list(self.input_size), "batch": self.batch, "device": str(self.device),
            "weights": self._weights(), "factor": self._factor, "fixed": self._fixed, "curves": curves,
        }  # fmt: skip

    def __str__(self) -> str:
        images = f"{self.batch} image{'s' * (self.batch > 1)}"
        lines = [f"{1e3 * self.value():.3g} ms for {images} of {self.input_size} on {self.device}", ""]
        lines += [f"{1e3 * seconds:10.4g} ms  {path or '(rest)'}" for path, seconds in self.by_layer().items()]
        return "\n".join(lines)

    # --- measuring ----------------------------------------------------------------------------------------------------

    def _measure(self, configurations: int) -> None:
        measured = self._passes(configurations, layers=True, as_it_is=True)
        self._curves = self._fitted([(one.alphas, one.layers()) for one in measured])
        self._factor, self._fixed = 1.0, 0.0
        sums = [sum(self._seconds(one.alphas).values()) for one in measured]
        self._factor, self._fixed = fitted_line(sums, [one.whole() for one in measured])

    def _passes(self, configurations: int, *, layers: bool = False, as_it_is: bool = False) -> list[_Measured]:
        """Passes at random sizes, the first as the model is if so wanted; layers are timed in passes of their own.

        Every set of sizes has its turn before the first is repeated, as a machine's speed drifts.
        """
        copied = deep_copy(self.cost.model).to(self.device).eval()
        tree = resolution_tree(copied)
        owners = list(learned_resizers(copied, owners=True).values()) if tree is None else tree.owners
        args, kwargs = self._arguments()

        def run() -> object:
            return copied(*args, **kwargs)

        def set_alphas(alphas: Sequence[PerAxis]) -> None:
            for resizer, alpha in zip(owners, alphas, strict=True):
                set_alpha(resizer, alpha)
            if tree is not None:
                tree.accept()
            run()  # memory is allocated, kernels are compiled

        start = host_alphas(owners)
        found: list[_Measured] = []
        failure: Exception | None = None
        with torch.no_grad():
            for _ in range(3 * configurations):
                try:
                    set_alphas(start if as_it_is and not found else self._drawn(owners, start))
                except (RuntimeError, ValueError) as error:  # it does not run at such sizes
                    failure = error
                    continue
                found.append(_Measured(host_alphas(owners)))
                if len(found) == configurations:
                    break
            if len(found) < min(configurations, _FEWEST):
                raise ValueError(f"the model runs at {len(found)} of {3 * configurations} sets of sizes: {failure}")
            for _ in range(self.repeats):
                for one in found:
                    set_alphas(one.alphas)
                    one.wholes.append(seconds_of(run, self.device))
                    if layers:
                        clock = Clock(self.device)
                        with clock.watching(copied):
                            run()
                        one.clocks.append(clock.seconds())
        return found

    def _drawn(self, owners: Sequence[LearnedResizer[Any]], start: Sequence[PerAxis]) -> list[PerAxis]:
        """Alphas at which maps are larger or smaller than at the given ones, all together and each by itself."""
        whole = _WHOLE * (2 * torch.rand((), generator=self._draw, device="cpu").item() - 1)
        found = []
        for k, (resizer, alpha) in enumerate(zip(owners, start, strict=True)):
            drawn = torch.rand(resizer.axes, generator=self._draw, device="cpu")
            by = _AXIS * (2 * drawn - 1) + (whole if k == 0 else 0.0)
            if resizer.shared_alpha().numel() < resizer.axes:
                by = by[:1].expand(resizer.axes)
            strides = zip(resizer.strides(alpha), by, strict=True)
            wanted = resizer.values_of(tuple(stride * math.exp(change) for stride, change in strides))
            resizer.make_room(resizer.strides(wanted))
            found.append(resizer.project(wanted, wanted, None))
        return found

    def _arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Random images, and zeros for indices and masks, like the inputs of the traced pass."""
        example = self.cost.graph.example
        if example is None:
            return (), {}

        def real(t: Tensor) -> Tensor:
            if not t.is_floating_point():
                return torch.zeros(t.shape, dtype=t.dtype, device=self.device)
            return torch.randn(t.shape, generator=self._draw, device="cpu").to(self.device, t.dtype)

        found: tuple[tuple[Any, ...], dict[str, Any]] = tree_map_only(Tensor, real, (example.args, example.kwargs))
        return found

    # --- fitting ------------------------------------------------------------------------------------------------------

    def _fitted(self, measured: Sequence[tuple[list[PerAxis], dict[Key, float]]]) -> dict[Key, Curve]:
        """A curve for each operation of a module, or one for all of them if they have other names in a real pass."""
        ran: dict[str, set[str]] = {}
        for path, op in dict.fromkeys(key for _, layers in measured for key in layers):
            ran.setdefault(path, set()).add(op)
        traced: dict[str, set[str]] = {}
        for path, op in self._amounts:
            traced.setdefault(path, set()).add(op)
        self._whole_paths = {path for path in traced if ran.get(path) != traced[path]}
        works = [self._work_at(values) for values, _ in measured]
        points: dict[Key, list[tuple[float, float]]] = {}
        for (_, layers), work in zip(measured, works, strict=True):
            seconds: dict[Key, float] = {}
            for (path, op), took in layers.items():
                key = self._key(path, op)
                seconds[key] = seconds.get(key, 0.0) + took
            for key, amount in work.items():
                points.setdefault(key, []).append((amount, seconds.get(key, 0.0)))
        return {key: Curve.through(found) for key, found in points.items()}

    def _key(self, path: str, op: str) -> Key:
        return (path, "") if path in self._whole_paths else (path, op)

    def _works(self) -> Iterator[tuple[Key, list[Amount]]]:
        for (path, op), amounts in self._amounts.items():
            yield self._key(path, op), amounts

    def _work_at(self, alphas: Sequence[PerAxis]) -> dict[Key, float]:
        """The amount of work of each curve at the given alphas."""
        if self._cached[0] == tuple(alphas):
            return self._cached[1]
        graph = self.cost.graph
        sizes = self.cost.axis_sizes(graph, alphas)
        found: dict[Key, float] = {}
        for key, amounts in self._works():
            found[key] = found.get(key, 0.0) + sum(amount_at(graph, amount, axes, sizes) for amount, axes in amounts)
        self._cached = tuple(alphas), found
        return found

    def _seconds(self, alphas: Sequence[PerAxis]) -> dict[Key, float]:
        works = self._work_at(alphas)
        return {key: self._factor * curve(works[key]) for key, curve in self._curves.items()}

    def _sizes_at(self, alphas: Sequence[PerAxis]) -> dict[str, Size]:
        tree = self.cost.tree
        if tree is not None:
            sizes = tree.sizes_at(self.input_size[1:], alphas)
            return {tree.nodes[i].name: sizes[i] for i, _, _ in tree.learned}
        graph = self.cost.graph
        known = self.cost.axis_sizes(graph, alphas)
        found: dict[str, Size] = {}
        for resize in graph.resizes:
            axes = [graph.classes.find(axis) for axis in resize.target if axis is not None]
            if resize.learned and len(axes) == resize.axes:
                found.setdefault(resize.path, tuple(known[axis] for axis in axes))
        return found

    def _weights(self) -> list[Any]:
        """What tells models with the same layers apart: how many weights they have, of which dtypes."""
        weights = list(self.cost.model.parameters())
        return [sum(w.numel() for w in weights), sorted({str(w.dtype) for w in weights})]

    def _read(self, data: Mapping[str, Any]) -> None:
        try:
            curves = {(path, op): Curve.checked(works, took) for path, op, works, took in data["curves"]}
            factor, fixed = float(data["factor"]), float(data["fixed"])
            kind, size, batch, weights = data["format"], list(data["input_size"]), data["batch"], data["weights"]
            for value in (factor, fixed):
                Curve.checked([0.0], [value])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"measurements are not those of a LatencyModel: {error!r}") from error
        self._whole_paths = {path for path, op in curves if not op}
        same = kind == _FORMAT and size == list(self.input_size) and batch == self.batch and weights == self._weights()
        if not same or {key for key, _ in self._works()} != set(curves):
            raise ValueError("measurements are of another model, input size or batch")
        if str(self.device) != data.get("device"):
            raise ValueError(f"measurements are of device {data.get('device')!r}, not {str(self.device)!r}")
        self._curves, self._factor, self._fixed = curves, factor, fixed


def _device(given: torch.device | str, *, there: bool) -> torch.device:
    """The device; if it must be there, it is tried."""
    try:
        device = torch.device(given)
        if there and device.type != "meta":
            torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(f"device={given!r}: expected a device of this machine, such as 'cpu' ({error})") from error
    if device.type == "meta":
        raise ValueError("device is meta, which takes no time: give device='cpu', 'cuda', ...")
    return device
