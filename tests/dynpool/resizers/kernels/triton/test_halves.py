"""The kernels for halved maps, compiled: nothing is spilled, and memory is moved in whole vectors."""

import pytest

from tests.dynpool.resizers.kernels.triton.compiled import (
    assert_fits,
    backward_kernel,
    bits,
    every_dtype_on_hopper_and_bf16_elsewhere,
    forward_kernel,
    vector_bits,
)


@every_dtype_on_hopper_and_bf16_elsewhere
@pytest.mark.parametrize("channels_last", [False, True])
def test_forward_compiles_without_spilling_and_moves_vectors(dtype: str, capability: int, channels_last: bool) -> None:
    binary = forward_kernel(dtype, channels_last, True, capability)
    assert_fits(binary, 2 if dtype == "fp64" else 3)
    each = 8 if channels_last else 4
    assert vector_bits(dtype, each) in bits(binary, "st")  # whole vectors of y
    assert bits(binary, "ld") == {128 if channels_last else vector_bits(dtype, 2 * each)}  # two pixels a cell


@every_dtype_on_hopper_and_bf16_elsewhere
@pytest.mark.parametrize("channels_last", [False, True])
def test_backward_compiles_without_spilling_and_moves_vectors(dtype: str, capability: int, channels_last: bool) -> None:
    binary = backward_kernel(dtype, channels_last, capability, 0)
    assert_fits(binary, 2 if dtype == "fp64" else 3)
    assert vector_bits(dtype, 8) in bits(binary, "st")  # whole vectors of the gradient to x
    assert vector_bits(dtype, 8) in bits(binary, "ld")  # and of x
