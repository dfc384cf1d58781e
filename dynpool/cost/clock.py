"""Times every operation of a pass on a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Clock", "Key", "seconds_of"]

Key = tuple[str, str]  # module path, name of the operation


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes, until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


class Clock(TorchDispatchMode):
    """Times every operation of a pass, by module path and name of the operation."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.on_gpu = device, device.type == "cuda"
        self.stack = [""]
        self.marks: list[tuple[Key, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        begin = self.now()
        out = func(*args, **(kwargs or {}))
        self.marks.append(((self.stack[-1], func._schema.name.replace("::", ".")), begin, self.now()))
        return out

    def now(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def seconds(self) -> dict[Key, float]:
        """Seconds by (path, operation), all calls together."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
        found: dict[Key, float] = {}
        for key, begin, end in self.marks:
            took = begin.elapsed_time(end) / 1e3 if self.on_gpu else end - begin
            found[key] = found.get(key, 0.0) + took
        return found

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Follow which module runs."""

        def enter(path: str) -> Callable[..., None]:
            return lambda module, args: self.stack.append(path)

        def leave(module: nn.Module, args: Any, out: Any) -> None:
            self.stack.pop()

        handles = []
        for path, module in model.named_modules():
            if path:
                handles.append(module.register_forward_pre_hook(enter(path), prepend=True))
                handles.append(module.register_forward_hook(leave, prepend=True))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()
