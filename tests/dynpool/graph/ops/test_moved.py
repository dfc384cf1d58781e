"""Operations that move positions: what their description says, done step by step, is what PyTorch gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dynpool.graph import primitives as kinds
from dynpool.graph.record import Primitive, Shape
from tests.dynpool.graph.ops.single import node_of, primitive_of


def done(p: Primitive, x: Tensor, shape: Shape) -> list[Tensor]:
    """What the primitive says, by reading x at the positions that it names."""
    if isinstance(p, kinds.Permute):
        named = [dim for dim in p.order if dim is not None]
        return [x.permute(*named, *(dim for dim in range(x.ndim) if dim not in named)).reshape(shape)]
    if isinstance(p, kinds.Slice):
        parts = [x.index_select(p.dim, torch.tensor(list(kept))) for kept in p.ranges]
        return [part.squeeze(p.dim) for part in parts] if p.drop else parts
    if isinstance(p, kinds.Take):
        for dim, index in p.indices.items():
            at = torch.tensor(index.copy())
            x = x.flatten()[at].view(shape) if dim is None else x.index_select(dim, at)
        return [x]
    if isinstance(p, kinds.Pad):
        return [torch.from_numpy(np.pad(x.numpy(), p.around, mode=p.mode))]  # type: ignore[call-overload]
    if isinstance(p, kinds.Concatenate):
        return [(torch.stack if p.new else torch.cat)([x for _ in p.parts], p.dim)]
    assert isinstance(p, kinds.Regroup)
    return [x.reshape(p.split).permute(p.order).reshape(shape)]


MOVED: dict[str, Callable[[Tensor], Any]] = {
    "transpose": lambda x: x.transpose(1, -1),
    "t": lambda x: x[0, 0].t(),
    "unsqueeze, last": lambda x: x.unsqueeze(-1),
    "unsqueeze, first but one": lambda x: x.unsqueeze(1),
    "squeeze": lambda x: x.squeeze(0),
    "squeeze, not of size one": lambda x: x.squeeze(1),
    "squeeze, all": lambda x: x.squeeze(),
    "slice": lambda x: x[:, :, 1:5:2],
    "slice, from the end": lambda x: x[..., -3:-1],
    "select": lambda x: x.select(2, -2),
    "unbind": lambda x: x.unbind(3),
    "split": lambda x: x.split(4, 2),
    "chunk": lambda x: x.chunk(3, -1),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "roll, flattened": lambda x: x.roll(5),
    "flip": lambda x: x.flip(-1, 2),
    "constant padding": lambda x: F.pad(x, (1, 2, 0, 3)),
    "reflection padding": lambda x: F.pad(x, (1, 2, 0, 3), "reflect"),
    "replication padding": lambda x: F.pad(x, (1, 2, 0, 3), "replicate"),
    "concatenation": lambda x: torch.cat([x, x], -2),
    "stack": lambda x: torch.stack([x, x, x], -1),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel shuffle": lambda x: torch.ops.aten.channel_shuffle(x, 4),
}


@pytest.mark.parametrize("function", MOVED.values(), ids=MOVED)
def test_positions_are_moved_as_described(function: Callable[[Tensor], Any]) -> None:
    x = torch.arange(8 * 6 * 10.0).view(1, 8, 6, 10)
    node, shapes = node_of(function, x.shape[1:])
    expected = function(x)
    parts = list(expected) if isinstance(expected, (tuple, list)) else [expected]
    given = x[0, 0] if node.op == "aten.t" else x
    found = done(node.primitive, given, shapes[0])
    assert len(found) == len(parts)
    assert all(torch.equal(a, b) for a, b in zip(found, parts, strict=True))


def test_a_change_of_memory_format_moves_nothing_and_other_strides_are_unknown() -> None:
    same = primitive_of(lambda x: x.as_strided(x.shape, x.stride()), (3, 4, 5))
    assert isinstance(same, kinds.Elementwise)
    other = primitive_of(lambda x: x.as_strided((2, 2), (1, 3)), (3, 4, 5))
    assert isinstance(other, kinds.Opaque)
    assert not other.described


@pytest.mark.parametrize("how", [(3, 1, 1, 1), ((2, 3), (2, 1), (0, 1), (1, 2))])
def test_patches_and_their_sums_have_the_windows_given(how: tuple[Any, Any, Any, Any]) -> None:
    kernel, stride, padding, dilation = ((n, n) if isinstance(n, int) else n for n in how)
    p = primitive_of(lambda x: F.unfold(x, kernel, dilation, padding, stride), (2, 8, 9))
    assert isinstance(p, kinds.Patches)
    assert (p.kernel, p.stride, p.padding, p.dilation) == (kernel, stride, padding, dilation)

    def back(x: Tensor) -> Tensor:
        return F.fold(F.unfold(x, kernel, dilation, padding, stride), x.shape[-2:], kernel, dilation, padding, stride)

    q = primitive_of(back, (2, 8, 9))
    assert isinstance(q, kinds.Fold)
    assert (q.kernel, q.stride, q.padding, q.dilation) == (kernel, stride, padding, dilation)
