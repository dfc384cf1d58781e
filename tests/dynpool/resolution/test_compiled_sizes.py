"""Sizes that compiled code looks up: each model's are its own, and go with it."""

import copy
import gc
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch._dynamo.variables.lazy import LazyVariableTracker

from dynpool.resolution.compiled_sizes import OpenSizes, open_size


def test_a_size_is_what_was_filled_in_last() -> None:
    sizes = OpenSizes([(4, 6), (1, 9)])
    assert [open_size(key) for key in sizes.keys] == [(4, 6), (1, 9)]
    sizes.fill([(4, 6), (3, 2)])
    assert [open_size(key) for key in sizes.keys] == [(4, 6), (3, 2)]


def test_copies_have_the_same_sizes_under_keys_of_their_own() -> None:
    sizes = OpenSizes([(4, 6)])
    for copied in (copy.deepcopy(sizes), copy.copy(sizes), pickle.loads(pickle.dumps(sizes))):
        copied.fill([(8, 8)])
        assert open_size(copied.keys[0]) == (8, 8)
    assert open_size(sizes.keys[0]) == (4, 6)


def test_sizes_are_forgotten_with_their_owner() -> None:
    sizes = OpenSizes([(4, 6)])
    (key,) = sizes.keys
    del sizes
    with pytest.raises(AttributeError):
        open_size(key)


def test_compiled_code_serves_every_size() -> None:
    torch._dynamo.reset()
    sizes, count = OpenSizes([(4, 6), (4, 6)]), CompileCounter()

    @torch.compile(fullgraph=True, backend=count)
    def add(x: Tensor) -> Tensor:
        height, width = open_size(sizes.keys[1])
        return x + height * 1000 + width

    for height in range(2, 9):
        sizes.fill([(4, 6), (height, 9 - height // 2)])
        assert add(torch.zeros(())).item() == height * 1000 + 9 - height // 2
    assert count.frame_count == 1


def test_models_that_are_collected_while_another_is_compiled_do_not_disturb_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    sizes, unused = OpenSizes([(4, 6)]), [OpenSizes([(4, 6)] * 3) for _ in range(9)]
    create = LazyVariableTracker.create

    def collect_one_more(*args: Any, **kwargs: Any) -> Any:
        if unused:
            unused.pop()
            gc.collect()
        return create(*args, **kwargs)

    monkeypatch.setattr(LazyVariableTracker, "create", collect_one_more)

    @torch.compile(fullgraph=True, backend="eager")
    def add(x: Tensor) -> Tensor:
        height, width = open_size(sizes.keys[0])
        return x + height * 1000 + width

    assert add(torch.zeros(())).item() == 4006
    assert len(unused) < 9
