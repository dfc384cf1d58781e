"""An independent oracle of receptive fields: which input pixels have a gradient, at strictly positive weights.

Nothing of the library is used. The network is made neutral: normalisation by constants, activations and dropout pass
their input on, a maximum is a mean, a product of two maps is their sum, and a softmax adds the mean to its input. Then
every pixel that an output depends on has a positive gradient.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Region = tuple[tuple[int, int] | None, ...]

_PASSED_ON = [
    *(F.relu, torch.relu, torch.relu_, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.sigmoid, torch.sigmoid),
    *(F.silu, F.gelu, F.elu, F.selu, F.leaky_relu, F.mish, F.softplus, torch.tanh, F.tanh, F.batch_norm, F.dropout),
    *(F.threshold, torch.sqrt, torch.rsqrt, F.local_response_norm, torch.exp, torch.clamp, F.normalize),
    *(Tensor.sigmoid, Tensor.relu, Tensor.relu_, Tensor.tanh, Tensor.sqrt, Tensor.rsqrt, Tensor.sigmoid_, F.logsigmoid),
]
_TIMES = (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.div, Tensor.div, Tensor.__truediv__)
_PLUS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__)


def _averaged(pool: Any) -> Any:
    """Mean over the window of a max pool; with dilation, of a depthwise convolution."""

    def run(
        x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, **rest: Any
    ) -> Tensor:
        flat = [dilation] if isinstance(dilation, int) else list(dilation)
        if all(d == 1 for d in flat):
            return pool(x, kernel_size, stride, padding, ceil_mode=rest.get("ceil_mode", False))
        n = x.ndim - 2
        kernel = (kernel_size,) * n if isinstance(kernel_size, int) else kernel_size
        weight = x.new_ones((x.shape[1], 1, *kernel)) / math.prod(kernel)
        convolve = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
        return convolve(x, weight, None, stride or kernel_size, padding, dilation, groups=x.shape[1])

    return run


class Neutral(TorchFunctionMode):
    """Replaces what could make a gradient vanish, or not be positive, by sums and means over the same positions."""

    _pools: ClassVar = {
        F.max_pool1d: _averaged(F.avg_pool1d),
        F.max_pool2d: _averaged(F.avg_pool2d),
        F.max_pool3d: _averaged(F.avg_pool3d),
        torch.max_pool2d: _averaged(F.avg_pool2d),
        F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
    }

    def meet(self, a: Tensor, b: Tensor) -> Tensor:
        """What sees all that two maps see."""
        return a + b

    def beside(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """A map whose positions see all along dimensions as well."""
        return x + x.mean(list(dims), keepdim=True)

    def pieces(self, tensors: list[Tensor]) -> list[Tensor]:
        """What is put beside each other, in channels mostly."""
        return tensors

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {k: v for k, v in (kwargs or {}).items() if k != "inplace"}
        if func in _PASSED_ON:
            return args[0] * 1.0
        if func in self._pools:
            kwargs.pop("return_indices", None)
            return self._pools[func](*args, **kwargs)
        if func in (*_TIMES, Tensor.mul_, *_PLUS, Tensor.add_) and all(isinstance(a, Tensor) for a in args[:2]):
            met = self.meet(*args[:2])
            return args[0].copy_(met) if func in (Tensor.mul_, Tensor.add_) else met
        if func in (Tensor.softmax, torch.softmax, F.softmax):
            return self.beside(args[0], [kwargs["dim"] if "dim" in kwargs else args[1]])
        if func is F.layer_norm:
            return self.beside(args[0], range(-len(args[1]), 0))
        if func is F.group_norm:
            return self.beside(args[0], range(1, args[0].ndim))
        if func in (torch.cat, torch.concat, torch.stack):
            return func(self.pieces(list(args[0])), *args[1:], **kwargs)
        if func is F.scaled_dot_product_attention:
            q, k, v = args[:3]
            return q.mean(-1, keepdim=True) + k.mean((-2, -1), keepdim=True) + v.mean(-2, keepdim=True)
        return func(*args, **kwargs)


class Shortest(Neutral):
    """As `Neutral`, but wherever paths meet, all are cut but the one whose centre sees the fewest rows of the image.

    Args:
        x: the image.
        axis: along which paths are compared: 0 is the height.
    """

    def __init__(self, x: Tensor, axis: int = 0) -> None:
        super().__init__()
        self.x, self.axis = x, axis

    def extent(self, t: Tensor) -> int:
        """How many rows of the image the centre of a map sees, holes included; 0 if it does not depend on it."""
        if not t.requires_grad:
            return 0
        centre = t[0].reshape(-1, *t.shape[-2:])[:, t.shape[-2] // 2, t.shape[-1] // 2].sum()
        (gradient,) = torch.autograd.grad(centre, self.x, retain_graph=True, allow_unused=True)
        found = None if gradient is None else _hull(gradient[0].abs().sum(0) > 0, self.axis)
        return 0 if found is None else found[1] - found[0] + 1

    def meet(self, a: Tensor, b: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(a.shape, b.shape)
        ways = [t for t in (a, b) if t.shape == shape and self.extent(t)]
        if len(ways) < 2 or len(shape) < 4:
            return ways[0] * 1.0 if len(ways) == 1 and len(shape) >= 4 else a + b
        return min(ways, key=self.extent) * 1.0

    def beside(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        return x * 1.0

    def pieces(self, tensors: list[Tensor]) -> list[Tensor]:
        if any(t.ndim < 4 for t in tensors):
            return tensors
        extents = [self.extent(t) for t in tensors]
        least = min((e for e in extents if e), default=0)
        return [t * float(e == least) for t, e in zip(tensors, extents, strict=True)]


def positive(model: nn.Module) -> nn.Module:
    """The model in eval mode and double precision with positive weights that keep the scale of what passes."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("alpha"):  # of a resizer: it sets a size
                continue
            p.fill_(1.0 / max(p[0].numel(), 1) if p.ndim > 1 else 1.0)
    return model.eval().double()


def layer_outputs(model: nn.Module, x: Tensor, names: Iterable[str], mode: Neutral | None = None) -> dict[str, Tensor]:
    """What the modules of the given paths put out in the neutral network, or in a `mode`, at their first call."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, out: Tensor) -> None:
            found.setdefault(name, out.clone())  # what follows may work in place

        return hook

    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    with mode or Neutral():
        model(x)
    for handle in handles:
        handle.remove()
    return found


def region(out: Tensor, x: Tensor, position: Sequence[int]) -> Region:
    """Per axis the first and last input pixel on which an output position (all channels) depends."""
    at = out[0].sum(0)[tuple(position)]
    (gradient,) = torch.autograd.grad(at, x, retain_graph=True)
    depends = gradient[0].abs().sum(0) > 0
    return tuple(_hull(depends, axis) for axis in range(depends.ndim))


def _hull(depends: Tensor, axis: int) -> tuple[int, int] | None:
    """The first and the last place along an axis that holds a true value."""
    places = depends.movedim(axis, 0).reshape(depends.shape[axis], -1).any(1).nonzero().flatten()
    return (int(places[0]), int(places[-1])) if len(places) else None


def image(size: Sequence[int]) -> Tensor:
    return torch.ones(1, *size, dtype=torch.float64, requires_grad=True)
