"""Alphas of a frozen model in a state dict: the bits of their float32 values, which casting leaves alone."""

import torch
from torch import nn

from dynpool.resolution.saved_alphas import ENTRY, FROZEN_ALPHAS, from_bits, frozen_bits, to_bits

VALUES = [(1.7, 2.0), (float.fromhex("0x1.99999ap+0"), 1e-8)]


def test_values_come_back_bit_by_bit_through_half_precision() -> None:
    model = nn.Module()
    model.register_buffer(FROZEN_ALPHAS, to_bits(VALUES))
    bits = model.half().get_buffer(FROZEN_ALPHAS)
    assert bits.dtype == torch.int32
    assert torch.equal(from_bits(bits), torch.tensor(VALUES))


def test_they_are_found_among_the_tensors_or_in_the_metadata() -> None:
    bits = to_bits(VALUES)
    assert frozen_bits({f"net.{FROZEN_ALPHAS}": bits}, "net.", {}) is bits
    found = frozen_bits({}, "net.", {ENTRY: {"alphas": VALUES}})
    assert found is not None
    assert torch.equal(found, bits)
    assert frozen_bits({FROZEN_ALPHAS: bits}, "net.", {ENTRY: {"version": "1"}}) is None
