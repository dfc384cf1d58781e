"""Plans of launches: vectors as wide as channels allow, and options that the compilers know."""

import dataclasses
import re
from collections.abc import Iterator

import pytest
import torch

from tests.dynpool.resizers.kernels.triton.compiled import (
    REGISTERS,
    THREADS,
    assert_fits,
    backward_kernel,
    bits,
    forward_kernel,
)


@pytest.mark.parametrize("channels", [24, 20, 18, 3])
def test_vectors_are_as_wide_as_the_number_of_channels_allows_and_nothing_is_spilled(channels: int) -> None:
    widest = 16 * max(k for k in (8, 4, 2, 1) if channels % k == 0)
    for halves in (False, True):
        forward = forward_kernel("bf16", True, halves, 90, channels)
        backward = backward_kernel("bf16", True, 90, 0 if halves else 3, channels)
        assert_fits(forward)
        assert_fits(backward)
        assert max(bits(forward, "ld")) == widest
        assert max(bits(backward, "ld")) == widest


@pytest.fixture
def rocm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans are made as on an AMD GPU."""
    from dynpool.resizers.kernels.triton import plans

    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(plans, "_threads_of_a_warp", lambda: 64)
    for cached in (plans.forward_launch, plans.backward_launch):
        cached.cache_clear()
    yield
    for cached in (plans.forward_launch, plans.backward_launch):
        cached.cache_clear()


@pytest.mark.usefixtures("rocm")
@pytest.mark.parametrize("channels_last", [False, True])
def test_plans_for_amd_have_options_that_its_compiler_knows_and_nothing_is_spilled(channels_last: bool) -> None:
    import triton
    from triton.backends.amd.compiler import HIPOptions

    from dynpool.resizers.kernels.triton import plans

    version = tuple(map(int, triton.__version__.split(".")[:2]))
    options = plans._options(128, torch.bfloat16)
    assert options["num_warps"] * 64 == 128
    assert options.keys() <= {field.name for field in dataclasses.fields(HIPOptions)}
    binaries = [forward_kernel("bf16", channels_last, halves, "gfx942") for halves in (False, True)]
    binaries += [backward_kernel("bf16", channels_last, "gfx942", cells) for cells in (3, 0)]
    for binary in binaries:
        spills = dict(re.findall(r"\.([sv]gpr_spill_count|private_segment_fixed_size):\s+(\d+)", binary.asm["amdgcn"]))
        if version < (3, 7):  # it keeps two scalar registers of one kernel in lanes of a vector register
            del spills["sgpr_spill_count"]
        assert set(spills.values()) == {"0"}


def test_plans_for_nvidia_limit_registers() -> None:
    from dynpool.resizers.kernels.triton import plans

    options = plans._options(128, torch.bfloat16)
    assert options["maxnreg"] * 3 * THREADS <= REGISTERS


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("shape", "size"), [((5, 1024, 7, 7), (4, 4)), ((1, 512, 22, 22), (11, 11)), ((1, 64, 64, 64), (54, 54))]
)
def test_small_maps_have_a_program_for_each_processor(
    shape: tuple[int, int, int, int], size: tuple[int, int], layout: torch.memory_format
) -> None:
    from dynpool.resizers.kernels.triton import plans

    forward = plans.forward_launch(shape, size, layout, torch.bfloat16, "max", True)
    backward = plans.backward_launch(shape, size, layout, torch.bfloat16, "max", True, True)
    assert forward is not None
    assert backward is not None
    assert min(forward.programs, backward.programs) >= plans._PROCESSORS


def test_walks_over_large_maps_are_long() -> None:
    from dynpool.resizers.kernels.triton import plans

    for shape, size in (((83, 256, 56, 56), (47, 47)), ((334, 1024, 14, 14), (12, 12))):
        for layout in (torch.contiguous_format, torch.channels_last):
            launch = plans.backward_launch(shape, size, layout, torch.float32, "max", True, True)
            assert launch is not None
            assert launch.numbers[-1] >= plans._LINES


@pytest.mark.parametrize("samples", [1, 64])
def test_two_neighbours_share_a_program_in_channels_last(samples: int) -> None:
    from dynpool.resizers.kernels.triton import plans

    shape, size = (samples, 128, 29, 30), (17, 19)
    forward = plans.forward_launch(shape, size, torch.channels_last, torch.bfloat16, "max", True)
    backward = plans.backward_launch(shape, size, torch.channels_last, torch.bfloat16, "max", True, True)
    for launch, (rows, columns) in ((forward, size), (backward, shape[2:])):
        assert launch is not None
        constants = launch.constants
        walks = -(-columns // launch.numbers[-1])
        groups = -(-samples // (constants["PLANES"] // 2))
        assert constants["POSITIONS"] == 2
        assert launch.programs == -(-rows // 2) * walks * groups * 128 // constants["LANES"]


def test_neighbours_are_no_more_than_a_tile_has_planes() -> None:
    from dynpool.resizers.kernels.triton import plans

    shape, size = (1, 128, 5, 5), (4, 4)
    forward = plans.forward_launch(shape, size, torch.channels_last, torch.float64, "max", True)
    backward = plans.backward_launch(shape, size, torch.channels_last, torch.float64, "max", True, True)
    for launch in (forward, backward):
        assert launch is not None
        assert launch.constants["POSITIONS"] == launch.constants["PLANES"] == 1


def test_a_pixel_that_gathers_from_many_cells_has_a_program_of_its_own() -> None:
    from dynpool.resizers.kernels.triton import plans

    found = {}
    for height, width in ((29, 60), (58, 29), (70, 29)):
        launch = plans.backward_launch(
            (8, 64, 29, 60), (height, width), torch.channels_last, torch.float32, "max", True, True
        )
        found[height, width] = launch and tuple(launch.constants[name] for name in ("POSITIONS", "CELLS", "FAR"))
    assert found == {(29, 60): (2, 5, False), (58, 29): (1, 5, True), (70, 29): None}
