"""The forward kernel for any sizes, compiled: nothing is spilled, and memory is moved in whole vectors."""

import pytest

from tests.dynpool.resizers.kernels.triton.compiled import (
    assert_fits,
    assert_rounds_to_nearest,
    bits,
    every_dtype_on_hopper_and_bf16_elsewhere,
    forward_kernel,
    vector_bits,
)


@every_dtype_on_hopper_and_bf16_elsewhere
@pytest.mark.parametrize("channels_last", [False, True])
def test_forward_compiles_without_spilling_and_moves_vectors(dtype: str, capability: int, channels_last: bool) -> None:
    binary = forward_kernel(dtype, channels_last, False, capability)
    assert_fits(binary, 2 if dtype == "fp64" else 3)
    if dtype in ("bf16", "fp16"):
        assert_rounds_to_nearest(binary)
    each = 8 if channels_last else 4
    assert vector_bits(dtype, each) in bits(binary, "st")  # whole vectors of y
    if channels_last:
        assert bits(binary, "ld") == {128}
