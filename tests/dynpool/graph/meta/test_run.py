"""A pass on the meta device: real tensors become meta, and what is an error with data is one without."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dynpool.graph.meta.run import Constants, run_on_meta

aten = torch.ops.aten


def empty(*shape: int, **how: Any) -> Tensor:
    return torch.empty(shape, device="meta", **how)


X = empty(2, 3, 4, 5)


def test_real_tensors_and_devices_become_meta() -> None:
    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return run_on_meta(func, args, kwargs or {})

    with Mode():
        made = torch.zeros(3, device="cpu") + torch.ones(2, 3)
    assert made.is_meta
    assert made.shape == (2, 3)


def test_there_is_nothing_to_move_from_meta_to_another_device() -> None:
    moved = run_on_meta(aten._to_copy.default, (X,), {"device": torch.device("cpu")}, Constants())
    assert moved.is_meta
    assert moved.shape == X.shape


@pytest.mark.parametrize(("kernel", "transposed"), [((7, 1), False), ((7, 9), False), ((1, 6), False), ((2, 2), True)])
def test_a_convolution_that_leaves_nothing_is_an_error_as_with_data(kernel: tuple[int, int], transposed: bool) -> None:
    x = empty(1, 3, 1, 5) if transposed else empty(1, 3, 6, 5)
    args = (x, empty(3, 3, *kernel), None, [1, 1], [1, 0] if transposed else [0, 0], [1, 1], transposed, [0, 0], 1)
    with pytest.raises(RuntimeError, match=r"Output size is too small|Kernel size can't be greater"):
        run_on_meta(aten.convolution.default, args, {})
    with pytest.raises(RuntimeError, match=r"too small|greater"):
        aten.convolution.default(*(torch.zeros(t.shape) if isinstance(t, Tensor) else t for t in args))
