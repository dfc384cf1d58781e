"""Launches: a kept kernel gets what the first launch gave it."""

import dataclasses
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")


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
