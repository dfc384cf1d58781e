"""Whether Triton can be used here is found by using it, and what it raises is told."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")


class Kernel:
    """A kernel whose launch raises an error, if any."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.compiled = 0

    def warmup(self, *, grid: tuple[int, ...], **constants: int) -> None:
        self.compiled += 1

    def __getitem__(self, grid: tuple[int, ...]):
        def launch(**constants: int) -> None:
            if self.error is not None:
                raise self.error

        return launch


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, None),
        (RuntimeError("0 active drivers"), "RuntimeError: 0 active drivers"),
        (FileNotFoundError(2, "no compiler", "gcc"), "FileNotFoundError: [Errno 2] no compiler: 'gcc'"),
    ],
)
def test_what_keeps_it_from_being_used_is_told(monkeypatch, error, said):
    from dynpool.resizers.kernels.triton import usable

    monkeypatch.setattr(usable, "_nothing", Kernel(error))
    assert usable.why_not() == said


def test_a_fault_of_our_own_is_raised(monkeypatch):
    from dynpool.resizers.kernels.triton import usable

    monkeypatch.setattr(usable, "_nothing", Kernel(KeyError("BLOCK")))
    with pytest.raises(KeyError, match="BLOCK"):
        usable.why_not()


def test_while_a_graph_is_captured_it_is_compiled_and_not_launched(monkeypatch):
    from dynpool.resizers.kernels.triton import usable

    kernel = Kernel(RuntimeError("operation not permitted when stream is capturing"))
    monkeypatch.setattr(usable, "_nothing", kernel)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert usable.why_not() is None
    assert kernel.compiled == 1
