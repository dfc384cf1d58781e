"""Ways to convert a model, and state dicts of models that are parts of others."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import dynpool
from dynpool.baselines import DiffStride2d, ShapeAdaptor2d

SIZE = (3, 32, 32)

WAYS: list[dict[str, Any]] = [
    {},
    {"order": "before"},
    {"preserve": True},
    {"multiple_of": (4, 2)},
    {"pool": DiffStride2d},
    {"pool": partial(DiffStride2d, smoothness=2.0, symmetric=True)},
    {"pool": lambda *args, **options: ShapeAdaptor2d(*args, **options, align_corners=False)},
]


def moved(model: nn.Module) -> nn.Module:
    """With alphas away from where the conversion put them."""
    for i, found in enumerate(dynpool.resolutions(model).values()):
        with torch.no_grad():
            found.alpha.mul_(torch.tensor([1.3 + 0.1 * i, 1.1][: found.alpha.numel()]))
    dynpool.constrain(model, trust=10.0)
    return model


def prefixed(state: Any, prefix: str, **more: Tensor) -> OrderedDict[str, Any]:
    """As the state dict of a module that has the model as a child, and more."""
    found = OrderedDict((prefix + name, value) for name, value in state.items())
    found.update(more)
    about = state._metadata.items()
    found._metadata = OrderedDict((f"{prefix}{name}".rstrip("."), value) for name, value in about)  # type: ignore[attr-defined]
    return found
