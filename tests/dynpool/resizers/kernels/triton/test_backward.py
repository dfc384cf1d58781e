"""The backward kernels for any sizes, compiled: nothing is spilled, and memory is moved in whole vectors."""

from typing import Any

import pytest

from tests.dynpool.resizers.kernels.triton.compiled import (
    assert_fits,
    assert_rounds_to_nearest,
    backward_kernel,
    bits,
    compiled,
    every_dtype_on_hopper_and_bf16_elsewhere,
    vector_bits,
)


@every_dtype_on_hopper_and_bf16_elsewhere
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("cells", [2, 3])  # of lines that queries may pass over, and of those that they may not
def test_backward_compiles_without_spilling_and_moves_vectors(
    dtype: str, capability: int, cells: int, channels_last: bool
) -> None:
    binary = backward_kernel(dtype, channels_last, capability, cells)
    assert_fits(binary, 2 if dtype == "fp64" else 3)
    if dtype in ("bf16", "fp16"):
        assert_rounds_to_nearest(binary)
    each = 8 if channels_last else 2
    assert vector_bits(dtype, each) in bits(binary, "st")  # whole vectors of the gradient to x
    assert vector_bits(dtype, each) in bits(binary, "ld")  # and of x


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"cells": 1},
        {"cells": 3},
        {"cells": 4},
        {"cells": 5},
        {"reduce": "mean"},
        {"reduce": "mean", "cells": 5},
        {"reduce": "sample", "PIXELS": True, "ALPHA": False},
        {"ALIGN": 1},
        {"WHOLE": False},
        {"WHOLE": False, "cells": 5},
    ],
)
def test_variants_of_the_backward_compile_without_spilling(change: dict[str, Any], channels_last: bool) -> None:
    if not (channels_last and "ALIGN" in change):  # there, the plan has fewer elements, see below
        assert_fits(backward_kernel("bf16", channels_last, 90, **change))


def test_the_last_launch_compiles() -> None:
    from dynpool.resizers.kernels.triton import plans

    launch = plans.alpha_launch(1000, (8, 8), (4, 4), 1)
    for alpha in ("fp32", "bf16", "fp64"):
        pointers = {"partials": "fp32", "alpha": alpha, "dalpha": alpha}
        assert_fits(compiled(launch.kernel, pointers, launch.constants, launch.options, 90), 1)
