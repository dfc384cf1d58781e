"""What schemas say of views and writes is what operations do to memory."""

from typing import Any

import pytest
import torch

from dynpool.graph.meta.aliasing import PLAIN, aliasing
from dynpool.graph.meta.arguments import bind

aten = torch.ops.aten
X = torch.arange(12.0).view(3, 4)
CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "view": (aten.view.default, (X, [4, 3])),
    "transpose": (aten.transpose.int, (X, 0, 1)),
    "slice": (aten.slice.Tensor, (X, 0, 1, 3)),
    "unbind": (aten.unbind.int, (X,)),
    "split": (aten.split.Tensor, (X, 2)),
    "expand": (aten.expand.default, (X[:1], [5, 4])),
    "add": (aten.add.Tensor, (X, X)),
    "add in place": (aten.add_.Tensor, (X, 1.0)),
    "copy in place": (aten.copy_.default, (X, X + 1)),
    "clone": (aten.clone.default, (X,)),
    "cat": (aten.cat.default, ([X, X],)),
    "add into": (aten.add.out, (X, X)),
    "batch norm": (
        aten._native_batch_norm_legit.default,
        (X, None, None, torch.zeros(4), torch.ones(4), True, 0.1, 1e-5),
    ),
}


@pytest.mark.parametrize(("func", "args"), CALLS.values(), ids=CALLS)
def test_views_share_memory_and_only_what_is_written_to_changes(func: Any, args: tuple[Any, ...]) -> None:
    args = tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in args)
    kwargs = {"out": torch.zeros(3, 4)} if func is aten.add.out else {}
    before = {name: v.clone() for name, v in bind(func, args, kwargs).items() if isinstance(v, torch.Tensor)}
    out = func(*args, **kwargs)
    outs = out if isinstance(out, (tuple, list)) else (out,)
    bound = bind(func, args, kwargs)
    found = aliasing(func)
    changed = {name for name, value in before.items() if not torch.equal(value, bound[name])}
    assert changed == set(found.targets)
    for name, index in found.written:
        assert outs[index] is bound[name]
    first = next(a for a in bound.values() if isinstance(a, torch.Tensor)) if func is not aten.cat.default else X
    shares = [o.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() for o in outs]
    assert found.view == (all(shares) and not found.targets)


def test_an_operation_that_makes_something_new_is_plain() -> None:
    assert aliasing(aten.relu.default) == PLAIN
