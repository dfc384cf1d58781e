"""A state dict says how its model was converted: that of another conversion is refused with what differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import dynpool
from tests.dynpool.conversion.ways import SIZE, WAYS, prefixed
from tests.networks import two_resizers


@pytest.mark.parametrize("how", WAYS)
def test_a_state_dict_of_another_conversion_is_refused_with_both_sides(how: dict[str, Any]) -> None:
    for others in WAYS:
        model = dynpool.convert(two_resizers(), SIZE, **others)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = dynpool.convert(two_resizers(), SIZE, **how).state_dict()
        if how is others:
            model.load_state_dict(state)
            continue
        with pytest.raises(RuntimeError, match=r"of another conversion of the model.* in the state dict and .* here"):
            model.load_state_dict(state)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_message_names_what_differs() -> None:
    state = dynpool.convert(two_resizers(), SIZE, order="before").state_dict()
    wrapper = nn.ModuleDict({"net": dynpool.convert(two_resizers(), SIZE)})
    with pytest.raises(RuntimeError, match=r"of net,.*order is 'before' in the state dict and 'after' here\. dyn"):
        wrapper.load_state_dict(prefixed(state, "net."))


def test_what_makes_no_difference_is_no_error() -> None:
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2))
    state = dynpool.convert(pooled, SIZE, order="before", max_gmacs=1.0).state_dict()
    dynpool.convert(pooled, (3, 64, 48)).load_state_dict(state)


def test_frozen_models_of_another_conversion_are_refused() -> None:
    first, second = (dynpool.freeze(dynpool.convert(two_resizers(), SIZE, order=o)) for o in ("after", "before"))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="order is 'before' in the state dict and 'after' here"):
        first.load_state_dict(second.state_dict())
