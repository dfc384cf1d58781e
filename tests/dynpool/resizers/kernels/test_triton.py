"""The Triton kernels without a GPU: their cases under the interpreter, and what the compiler makes of them.

``triton_cases.py`` holds the cases; on a machine with a GPU it is run there as well.
"""

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")

CASES = Path(__file__).parent / "triton_cases.py"
NO_TESTS = 5  # pytest's exit code where all of a file is skipped
REGISTERS, THREADS = 65536, 128  # of a multiprocessor, and of a program
DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
every_dtype_on_hopper_and_bf16_elsewhere = pytest.mark.parametrize(
    ("dtype", "capability"), [*((dtype, 90) for dtype in DTYPES), ("bf16", 80), ("bf16", 100)]
)


def run_cases(**environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rs", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode == NO_TESTS:
        pytest.skip(done.stdout[-600:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.timeout(900)
def test_cases_under_the_interpreter() -> None:
    run_cases(TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.timeout(900)
def test_cases_on_a_gpu() -> None:
    run_cases(TRITON_INTERPRET="0")


# ----------------------------------------------------------------------------------------------- ahead of time


def shape_of(channels: int) -> tuple[int, int, int, int]:
    return 8, channels, 64, 64


def layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def compiled(
    kernel: Any, pointers: dict[str, str], constants: dict[str, Any], options: dict[str, int], device: int | str
) -> Any:
    """The kernel compiled for a device that need not be there: NVIDIA's compute capability, or AMD's architecture."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, attributes = {}, {}
    for position, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
            continue
        signature[name] = f"*{pointers[name]}" if name in pointers else "i32"
        if name in pointers:
            attributes[position,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    target = GPUTarget("cuda", device, 32) if isinstance(device, int) else GPUTarget("hip", device, 64)
    return triton.compile(source, target=target, options=options)


def resources(binary: Any) -> dict[str, int]:
    """Registers of a thread, and bytes of its stack and local memory, where spilled registers would be."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        command = [str(tool), "--dump-resource-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", report)}


def assert_fits(binary: Any, programs: int = 3) -> None:
    """Nothing is spilled, and so many programs find room on a multiprocessor beside each other."""
    found = resources(binary)
    assert found["STACK"] == found["LOCAL"] == 0
    assert 0 < programs * THREADS * found["REG"] <= REGISTERS


def assert_rounds_to_nearest(binary: Any) -> None:
    """Whatever becomes bfloat16 or float16 is rounded to the nearest; the interpreter would cut digits off."""
    found = set(re.findall(r"\bcvt\.(\w+)\.(?:bf16|f16)(?:x2)?\.f32", binary.asm["ptx"]))
    assert found == {"rn"}


def bits(binary: Any, what: str) -> set[int]:
    """Widths in bits of a kernel's global loads ("ld") or stores ("st")."""
    found = re.findall(rf"\b{what}\.global(?:\.\w+::\w+)*(?:\.v(\d))?\.[bfus](\d+)", binary.asm["ptx"])
    return {int(count or 1) * int(width) for count, width in found}


def vector_bits(dtype: str, elements: int) -> int:
    """The widest access to so many elements of a thread: at most 16 bytes."""
    return min(128, elements * 8 * DTYPES[dtype].itemsize)


def forward_kernel(dtype: str, channels_last: bool, halves: bool, device: int | str, channels: int = 64) -> Any:
    """The kernel for any sizes, or that for halved ones, compiled for "max" with winners."""
    from dynpool.resizers.kernels.triton import plans

    size = (32, 32) if halves else (56, 56)
    launch = plans.forward_launch(shape_of(channels), size, layout(channels_last), DTYPES[dtype], "max", True)
    assert launch is not None
    pointers = {"x": dtype, "y": dtype, "winners": "u8"}
    return compiled(launch.kernel, pointers, launch.constants, launch.options, device)


def backward_kernel(
    dtype: str,
    channels_last: bool,
    device: int | str,
    cells: int = 3,
    channels: int = 64,
    reduce: str = "max",
    **change: Any,
) -> Any:
    """The kernel with so many cells across a pixel, or that for halved maps (0), compiled with both gradients."""
    from dynpool.resizers.kernels.triton import plans
    from dynpool.size_math import cells_over_a_pixel

    sizes = (k for k in range(8, 129) if k != 32 and cells_over_a_pixel(64, k, "max") == cells)
    size = next(sizes) if cells else 32
    pointers = dict.fromkeys(("dy", "x", "dx"), dtype) | {"winners": "u8"}
    pointers["partials"] = "fp64" if dtype == "fp64" else "fp32"
    launch = plans.backward_launch(
        shape_of(channels), (size, size), layout(channels_last), DTYPES[dtype], reduce, reduce != "sample", True
    )
    assert launch is not None
    return compiled(launch.kernel, pointers, {**launch.constants, **change}, launch.options, device)


@every_dtype_on_hopper_and_bf16_elsewhere
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("halves", [False, True])
def test_forward_compiles_without_spilling_and_moves_vectors(
    dtype: str, capability: int, channels_last: bool, halves: bool
) -> None:
    binary = forward_kernel(dtype, channels_last, halves, capability)
    assert_fits(binary, 2 if dtype == "fp64" else 3)
    if dtype in ("bf16", "fp16") and not halves:
        assert_rounds_to_nearest(binary)
    each = 8 if channels_last else 4
    assert vector_bits(dtype, each) in bits(binary, "st")  # whole vectors of y
    if channels_last:
        assert bits(binary, "ld") == {128}
    elif halves:  # two pixels a cell
        assert bits(binary, "ld") == {vector_bits(dtype, 2 * each)}


@every_dtype_on_hopper_and_bf16_elsewhere
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("cells", [0, 2])
def test_backward_compiles_without_spilling_and_moves_vectors(
    cells: int, dtype: str, capability: int, channels_last: bool
) -> None:
    binary = backward_kernel(dtype, channels_last, capability, cells)
    assert_fits(binary, 2 if dtype == "fp64" else 3)
    if dtype in ("bf16", "fp16") and cells:
        assert_rounds_to_nearest(binary)
    each = 8 if channels_last or not cells else 2
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


def test_the_last_launch_compiles() -> None:
    from dynpool.resizers.kernels.triton import plans

    launch = plans.alpha_launch(1000, (8, 8), (4, 4), 1)
    for alpha in ("fp32", "bf16", "fp64"):
        pointers = {"partials": "fp32", "alpha": alpha, "dalpha": alpha}
        assert_fits(compiled(launch.kernel, pointers, launch.constants, {"num_warps": 4}, 90))


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
    from triton.backends.amd.compiler import HIPOptions

    from dynpool.resizers.kernels.triton import plans

    options = plans._options(128, torch.bfloat16)
    assert options["num_warps"] * 64 == 128
    assert options.keys() <= {field.name for field in dataclasses.fields(HIPOptions)}
    binaries = [forward_kernel("bf16", channels_last, halves, "gfx942") for halves in (False, True)]
    binaries += [backward_kernel("bf16", channels_last, "gfx942", cells) for cells in (3, 0)]
    for binary in binaries:
        found = re.findall(r"\.(?:[sv]gpr_spill_count|private_segment_fixed_size):\s+(\d+)", binary.asm["amdgcn"])
        assert found == ["0"] * 3


def test_plans_for_nvidia_limit_registers() -> None:
    from dynpool.resizers.kernels.triton import plans

    options = plans._options(128, torch.bfloat16)
    assert options["maxnreg"] * 3 * THREADS <= REGISTERS


def test_the_library_works_where_triton_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, dynpool\n"
        "x, alpha = torch.randn(1, 2, 8, 8, requires_grad=True), torch.tensor([2.0, 2.0], requires_grad=True)\n"
        "dynpool.dynopool2d(x, alpha).sum().backward()\n"
        "assert alpha.grad is not None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_library_does_not_import_the_kernels() -> None:
    code = "import sys, dynpool; assert 'dynpool.resizers.kernels.triton.launch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class Recorded:
    """A kernel, and what is compiled from it, that only notes the arguments of its launches."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.first: list[dict[str, Any]] = []
        self.later: list[dict[str, Any]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*tensors: Any, num_warps: int, maxnreg: int = 0, **constants: Any) -> Any:
            positional = self.kernel.arg_names[: len(tensors)]
            self.first.append(dict(zip(positional, tensors, strict=True)) | constants)
            return {grid: lambda *arguments: self.later.append(self.named(arguments))}

        return launch

    def named(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        """Compiled kernels take all arguments by their place, constants as well."""
        return dict(zip(self.kernel.arg_names, arguments, strict=True))


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_kept_kernel_gets_the_arguments_of_the_first_launch(
    size: tuple[int, int], layout: torch.memory_format
) -> None:
    from dynpool.resizers.kernels.triton import launch, plans

    shape = (2, 3, 8, 8)
    x, dy = torch.empty(shape, memory_format=layout), torch.empty((2, 3, *size), memory_format=layout)
    winner = torch.empty_like(dy, dtype=torch.uint8)
    forward = plans.forward_launch(shape, size, layout, x.dtype, "max", True)
    backward = plans.backward_launch(shape, size, layout, x.dtype, "max", True, True)
    assert forward is not None
    assert backward is not None
    for plan, tensors in ((forward, (x, dy, winner)), (backward, (dy, x, winner, x, x))):
        kernel = Recorded(plan.kernel)
        plan = dataclasses.replace(plan, kernel=kernel, kept={})
        for _ in range(3):
            launch._start(plan, *tensors)
        launch._start(plan, *(tensor[1:] for tensor in tensors))  # these are aligned otherwise: compiled by themselves
        assert len(kernel.first) == 1 + any(tensor[1:].data_ptr() % 16 for tensor in tensors)
        assert kernel.later[:2] == [kernel.first[0]] * 2
        assert list(kernel.first[0]) == kernel.kernel.arg_names
