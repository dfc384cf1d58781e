"""The Triton kernels without a GPU: their cases under the interpreter, and what the compiler makes of them.

``triton_cases.py`` holds the cases; on a machine with a GPU it is run there as well.
"""

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")

CASES = Path(__file__).parent / "triton_cases.py"
REGISTERS, THREADS = 65536, 128  # of a multiprocessor, and of a program
DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
every_dtype_on_hopper_and_bf16_elsewhere = pytest.mark.parametrize(
    ("dtype", "capability"), [*((dtype, 90) for dtype in DTYPES), ("bf16", 80), ("bf16", 100)]
)


def run_cases(**environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
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


Plan = tuple[dict[str, Any], dict[str, int]]  # the constants and the compiler's options that the launcher chooses
SHAPE = (8, 64, 64, 64)


def lines(dtype: str, channels_last: bool, each: int, columns: int, wide: bool = False) -> Plan:
    from dynpool.kernels import triton as kernels

    found = kernels._lines(SHAPE, layout(channels_last), DTYPES[dtype], wide, each, columns)
    return {"REDUCE": "max", **found.tile}, found.options


def tiles(dtype: str, channels_last: bool, wide: bool = False) -> Plan:
    from dynpool.kernels import triton as kernels

    found = kernels._tiles(SHAPE, layout(channels_last), DTYPES[dtype], wide)
    return {"REDUCE": "max", **found.tile}, found.options


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
        if name in pointers or name == "channels":  # the launcher specialises on multiples of 16 of these alone
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


def forward_kernel(dtype: str, channels_last: bool, halves: bool, device: int | str) -> Any:
    """The kernel for any sizes, or that for halved ones, compiled for "max" with winners."""
    from dynpool.kernels import triton_forward, triton_halves

    kernel = triton_halves.halves_forward_kernel if halves else triton_forward.forward_kernel
    each = 16 // DTYPES[dtype].itemsize if channels_last else 4
    given, options = tiles(dtype, channels_last) if halves else lines(dtype, channels_last, each, 4)
    return compiled(kernel, {"x": dtype, "y": dtype, "winners": "u8"}, given | {"KEEP": True}, options, device)


def backward_kernel(name: str, dtype: str, channels_last: bool, device: int | str, **change: Any) -> Any:
    """The kernel for any sizes, or that for halved ones, compiled with both gradients."""
    from dynpool.kernels import triton as kernels
    from dynpool.kernels import triton_backward, triton_halves

    kernel = {"any": triton_backward.backward_kernel, "halves": triton_halves.halves_backward_kernel}[name]
    pointers = dict.fromkeys(("dy", "x", "dx"), dtype) | {"winners": "u8"}
    pointers["partials"] = "fp64" if dtype == "fp64" else "fp32"
    change = {"CELLS": 3, "MORE": False, "WIDE": False, "WHOLE": True} | change
    if name == "halves":
        given, options = tiles(dtype, channels_last, change["WIDE"])
    else:
        cells, wide = change["CELLS"] + change["MORE"], change["WIDE"]
        elements = kernels._elements(cells, channels_last, DTYPES[dtype], wide)
        given, options = lines(dtype, channels_last, *elements, wide)
    given |= {"PIXELS": True, "ALPHA": True, **change}
    given = {key: value for key, value in given.items() if key in kernel.arg_names}
    return compiled(kernel, pointers, given, options, device)


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
@pytest.mark.parametrize("name", ["any", "halves"])
def test_backward_compiles_without_spilling_and_moves_vectors(
    name: str, dtype: str, capability: int, channels_last: bool
) -> None:
    binary = backward_kernel(name, dtype, channels_last, capability, CELLS=2)
    assert_fits(binary, 2 if dtype == "fp64" else 3)
    if dtype in ("bf16", "fp16") and name == "any":
        assert_rounds_to_nearest(binary)
    each = 8 if channels_last or name == "halves" else 2
    assert vector_bits(dtype, each) in bits(binary, "st")  # whole vectors of the gradient to x
    assert vector_bits(dtype, each) in bits(binary, "ld")  # and of x


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"REDUCE": "sample"},
        {"REDUCE": "mean"},
        {"ALIGN": 1},
        {"CELLS": 1},
        {"CELLS": 2},
        {"CELLS": 4},
        {"CELLS": 4, "MORE": True},
        {"CELLS": 4, "MORE": True, "REDUCE": "sample"},
        {"WHOLE": False},
        {"WIDE": True},
        {"WIDE": True, "WHOLE": False, "CELLS": 4, "MORE": True},
    ],
)
def test_variants_of_the_backward_compile_without_spilling(change: dict[str, Any], channels_last: bool) -> None:
    assert_fits(backward_kernel("any", "bf16", channels_last, 90, **change))


@pytest.mark.parametrize("channels_last", [False, True])
def test_halved_maps_of_any_width_compile_without_spilling(channels_last: bool) -> None:
    assert_fits(backward_kernel("halves", "bf16", channels_last, 90, ALIGN=1, WIDE=True))


def test_the_last_launch_compiles() -> None:
    from dynpool.kernels import triton as kernels
    from dynpool.kernels.triton_backward import alpha_kernel

    pointers = dict.fromkeys(("partials", "alpha", "dalpha"), "fp32")
    assert_fits(compiled(alpha_kernel, pointers, {"BLOCK": kernels._PARTIALS}, {"num_warps": 4}, 90))


@pytest.fixture
def rocm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are made as on an AMD GPU."""
    monkeypatch.setattr(torch.version, "hip", "6.4")


@pytest.mark.usefixtures("rocm")
@pytest.mark.parametrize("channels_last", [False, True])
def test_plans_for_amd_have_options_that_its_compiler_knows_and_nothing_is_spilled(channels_last: bool) -> None:
    from triton.backends.amd.compiler import HIPOptions

    _, options = tiles("bf16", channels_last)
    assert options.keys() <= {field.name for field in dataclasses.fields(HIPOptions)}
    binaries = [forward_kernel("bf16", channels_last, halves, "gfx942") for halves in (False, True)]
    binaries += [backward_kernel(name, "bf16", channels_last, "gfx942") for name in ("any", "halves")]
    for binary in binaries:
        found = re.findall(r"\.(?:[sv]gpr_spill_count|private_segment_fixed_size):\s+(\d+)", binary.asm["amdgcn"])
        assert found == ["0"] * 3


def test_plans_for_nvidia_limit_registers() -> None:
    _, options = tiles("bf16", True)
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
    code = "import sys, dynpool; assert 'dynpool.kernels.triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
