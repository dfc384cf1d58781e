"""Generators that follow from what they are for."""

import hashlib

import torch

__all__ = ["generator_for"]


def generator_for(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded from the given parts, e.g. (seed, epoch, "order"); different parts are independent."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
