"""Launches: a kept kernel gets what the first launch gave it, and a step may be recorded as a CUDA graph."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

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


class Asked(TorchDispatchMode):
    """Notes which of PyTorch's operations run."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_step_only_asks_for_memory_and_launches_so_that_a_graph_can_record_it(
    reduce: str, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynpool.resizers.kernels.triton import launch

    launches: list[tuple[Any, tuple[int, ...], dict[str, Any]]] = []
    monkeypatch.setattr(
        launch, "_start", lambda plan, *tensors: launches.append((plan.kernel, plan.numbers, plan.constants))
    )

    def step(size: tuple[int, int]) -> tuple[set[str], list[tuple[Any, tuple[int, ...], dict[str, Any]]]]:
        x, alpha = torch.empty(2, 3, 8, 9).contiguous(memory_format=layout), torch.empty(2)  # no value is looked at
        launches.clear()
        with Asked() as asked:
            y, winner = launch.forward(x, size, reduce, True)
            launch.backward(y, x, alpha, winner, (8, 9), reduce, True, layout == torch.channels_last)
        return asked.operations, list(launches)

    operations, first = step((5, 4))
    assert operations <= {"empty", "empty_like", "new_empty"}  # memory of the graph's own pool; no copies, no reads
    assert len(first) == 3
    assert step((5, 4))[1] == first
    assert step((4, 4))[1] != first  # another size needs another graph
