"""The Triton kernels compiled ahead of time for devices that need not be there, and what the compiler made of them."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")

REGISTERS, THREADS = 65536, 128  # of a multiprocessor, and of a program

DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

every_dtype_on_hopper_and_bf16_elsewhere = pytest.mark.parametrize(
    ("dtype", "capability"), [*((dtype, 90) for dtype in DTYPES), ("bf16", 80), ("bf16", 100)]
)


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
