"""Fast shape functions give what PyTorch itself gives on the meta device."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dynpool.graph.meta.run import run_on_meta

aten = torch.ops.aten


def empty(*shape: int, **how: Any) -> Tensor:
    return torch.empty(shape, device="meta", **how)


def described(out: Any) -> list[tuple[Any, ...]]:
    return [(t.shape, t.stride(), t.dtype) for t in tree_leaves(out) if isinstance(t, Tensor)]


X = empty(2, 3, 4, 5)

LAST = X.to(memory_format=torch.channels_last)

C = empty(3)

CALLS = {
    "batch norm, eval": (aten._native_batch_norm_legit_no_training.default, (X, C, C, C, C, 0.1, 1e-5)),
    "batch norm, training": (aten.native_batch_norm.default, (X, C, C, C, C, True, 0.1, 1e-5)),
    "batch norm, channels last": (aten._native_batch_norm_legit_no_training.default, (LAST, C, C, C, C, 0.1, 1e-5)),
    "layer norm": (aten.native_layer_norm.default, (X, [4, 5], empty(4, 5), empty(4, 5), 1e-5)),
    "add": (aten.add.Tensor, (X, X)),
    "add, spread": (aten.add.Tensor, (X, empty(3, 1, 1))),
    "add, spread the other way": (aten.add.Tensor, (empty(3, 1, 1), X)),
    "add, to a larger shape": (aten.add.Tensor, (empty(2, 3, 1, 5), X)),
    "add, other dtype": (aten.add.Tensor, (X, empty(2, 3, 4, 5, dtype=torch.float64))),
    "add, other strides": (aten.add.Tensor, (X, LAST)),
    "add, channels last": (aten.add.Tensor, (LAST, LAST)),
    "multiply by a number": (aten.mul.Tensor, (X, 2.0)),
    "divide integers": (aten.div.Tensor, (empty(3, dtype=torch.int64), 2)),
    "relu": (aten.relu.default, (X,)),
    "gelu": (aten.gelu.default, (X,)),
    "gelu, transposed": (aten.gelu.default, (X.mT,)),
    "gelu, channels last": (aten.gelu.default, (LAST,)),
    "gelu, with gaps": (aten.gelu.default, (X[:, :, ::2],)),
    "layer norm, moved": (aten.native_layer_norm.default, (X.permute(0, 2, 3, 1), [3], C, C, 1e-5)),
    "layer norm, with gaps": (aten.native_layer_norm.default, (X[..., ::2], [3], C, C, 1e-5)),
    "addmm": (aten.addmm.default, (empty(7), empty(4, 5), empty(5, 7))),
    "addmm, transposed": (aten.addmm.default, (empty(7), empty(5, 4).T, empty(7, 5).T)),
    "softmax": (aten._softmax.default, (X, -1, False)),
    "softmax, transposed": (aten._softmax.default, (X.mT, 2, False)),
    "softmax, integers": (aten._safe_softmax.default, (empty(2, 3, dtype=torch.int64), -1)),
    "softmax, with gaps": (aten._softmax.default, (X[..., ::2], 1, False)),
    "softmax, half to float": (aten._softmax.default, (empty(2, 3, dtype=torch.float16), -1, True)),
    "safe softmax": (aten._safe_softmax.default, (X, -1)),
    "safe softmax, with gaps": (aten._safe_softmax.default, (X[..., ::2], -1)),
    "bilinear": (aten.upsample_bilinear2d.default, (X, [9, 7], False)),
    "bilinear, channels last": (aten.upsample_bilinear2d.default, (LAST, [9, 7], True)),
    "bilinear, moved": (aten.upsample_bilinear2d.default, (X.permute(0, 3, 1, 2), [9, 7], True)),
    "bilinear, with gaps": (aten.upsample_bilinear2d.default, (LAST[..., ::2], [9, 7], True)),
    "bicubic": (aten.upsample_bicubic2d.default, (X, [9, 7], False)),
    "bicubic, moved": (aten.upsample_bicubic2d.default, (X.permute(0, 3, 1, 2), [2, 7], True)),
    "bilinear, by a factor": (aten.upsample_bilinear2d.vec, (X, None, False, [2.0, 3.0])),
    "grid sample": (aten.grid_sampler_2d.default, (X, empty(2, 6, 7, 2), 0, 0, False)),
    "grid sample, channels last": (aten.grid_sampler_2d.default, (LAST, empty(2, 6, 7, 2), 0, 0, False)),
    "in place": (aten.add_.Tensor, (empty(2, 3), empty(3))),
}


@pytest.mark.parametrize(("func", "args"), CALLS.values(), ids=CALLS)
def test_shortcuts_give_the_same_shapes_strides_and_dtypes(func: Any, args: tuple[Any, ...]) -> None:
    assert described(run_on_meta(func, args, {})) == described(func(*args))


MISFITS = {
    "batch norm of other channels": (
        aten._native_batch_norm_legit_no_training.default,
        (X, *4 * [empty(4)], 0.1, 1e-5),
    ),
    "layer norm of another shape": (aten.native_layer_norm.default, (X, [4, 6], empty(4, 6), empty(4, 6), 1e-5)),
    "layer norm with other weights": (aten.native_layer_norm.default, (X, [4, 5], empty(4, 6), None, 1e-5)),
    "a matrix with other rows": (aten.addmm.default, (empty(7), empty(4, 6), empty(5, 7))),
    "a bias of another length": (aten.addmm.default, (empty(8), empty(4, 5), empty(5, 7))),
    "a grid for another batch": (aten.grid_sampler_2d.default, (X, empty(3, 6, 7, 2), 0, 0, False)),
}


@pytest.mark.parametrize(("func", "args"), MISFITS.values(), ids=MISFITS)
def test_operands_that_do_not_go_together_are_pytorchs_errors(func: Any, args: tuple[Any, ...]) -> None:
    with pytest.raises(RuntimeError) as ours:
        run_on_meta(func, args, {})
    with pytest.raises(RuntimeError) as theirs:
        func(*args)
    assert str(ours.value) == str(theirs.value)


def test_a_larger_map_may_be_passed_on_through_a_matrix() -> None:
    args = (empty(7), empty(4, 6), empty(5, 7))
    assert run_on_meta(aten.addmm.default, args, {}, strict=False).shape == (4, 7)


def test_an_option_that_changes_no_shape_is_no_hindrance() -> None:
    out = run_on_meta(aten.gelu.default, (X,), {"approximate": "tanh"})
    assert described(out) == described(X)


def test_in_place_gives_the_tensor_itself() -> None:
    x = empty(2, 3)
    assert run_on_meta(aten.relu_.default, (x,), {}) is x
