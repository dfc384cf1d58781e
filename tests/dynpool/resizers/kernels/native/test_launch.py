"""The C code: threads, groups of planes and what it leaves to others. Its values are tested with those of cpu.py."""

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dynpool
from dynpool.resizers.kernels import eager, reference
from dynpool.resizers.kernels.native import build, launch

pytestmark = pytest.mark.skipif("no C compiler" in (build.problem() or ""), reason="no C compiler")

every_layout = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
Results = tuple[Tensor, Tensor, Tensor, Tensor]


def random_map(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(x: Tensor, dy: Tensor) -> Results:
    y, winner = launch.forward(x, (dy.shape[2], dy.shape[3]), "max")
    dx, spread = launch.backward(dy, x, winner, (x.shape[2], x.shape[3]), "max", True, not x.is_contiguous())
    assert dx is not None
    assert spread is not None
    return y, winner, dx, spread


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@every_layout
@pytest.mark.parametrize("count", [2, 3, 40])
def test_bits_do_not_depend_on_the_number_of_threads(
    count: int, layout: torch.memory_format, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_ALONE", 0)
    x = random_map(50, 97, 6, 5).contiguous(memory_format=layout)
    dy = random_map(50, 97, 4, 7, seed=1)
    threads(1)
    alone = run(x, dy)
    threads(count)
    assert all(torch.equal(one, other) for one, other in zip(alone, run(x, dy), strict=True))


@every_layout
@pytest.mark.parametrize("channels", [1, 5, 15, 16, 17, 31, 32, 40])
def test_planes_do_not_depend_on_which_lie_beside_them(channels: int, layout: torch.memory_format) -> None:
    x, dy = random_map(3, channels, 70, 3), random_map(3, channels, 41, 2, seed=1)
    given = x.contiguous(memory_format=layout)
    y, winner, dx, spread = run(given, dy)
    alone = [[run(x[n, c].view(1, 1, 70, 3), dy[n, c].view(1, 1, 41, 2)) for c in range(channels)] for n in range(3)]
    for n in range(3):
        for c in range(channels):
            parts = alone[n][c]
            assert torch.equal(y[n, c], parts[0][0, 0])
            assert torch.equal(winner[n, c], parts[1][0, 0])
            assert torch.equal(dx[n, c], parts[2][0, 0])
    total = torch.stack([parts[3].double() for row in alone for parts in row]).sum(0)
    torch.testing.assert_close(spread.double(), total, rtol=1e-5, atol=1e-3)


@every_layout
def test_slices_are_pooled_as_their_copies_are(layout: torch.memory_format) -> None:
    whole = random_map(4, 48, 20, 18).contiguous(memory_format=layout)
    dy = random_map(4, 16, 9, 7, seed=1)
    for part in (whole[:, 16:32, 1:], whole[:, ::3, :, ::2], whole.transpose(2, 3)[:, :16]):
        copy = part.clone(memory_format=torch.contiguous_format)
        found, expected = run(part, dy), run(copy, dy)
        assert all(torch.equal(one, other) for one, other in zip(found[:3], expected[:3], strict=True))
        torch.testing.assert_close(found[3], expected[3], rtol=1e-5, atol=1e-4)


def test_maps_of_one_pixel_in_both_layouts() -> None:
    x, dy = random_map(2, 32, 1, 1), random_map(2, 32, 2, 3, seed=1)
    for last in (False, True):
        y, winner = launch.forward(x, (2, 3), "max")
        assert torch.equal(y, x.expand(2, 32, 2, 3))
        dx, spread = launch.backward(dy, x, winner, (1, 1), "max", True, last)
        assert dx is not None
        torch.testing.assert_close(dx, dy.sum((2, 3), keepdim=True))
        assert spread is not None
        assert spread.eq(0).all()


@pytest.mark.parametrize(("channels", "pixels", "last"), [(16, 300, False), (4096, 30, True)])
def test_a_large_sum_for_alpha_keeps_its_digits(channels: int, pixels: int, last: bool) -> None:
    layout = torch.channels_last if last else torch.contiguous_format
    x = torch.rand(1, channels, pixels, pixels, generator=torch.Generator().manual_seed(0))
    cells = round(0.7 * pixels)
    dy = torch.ones(1, channels, cells, cells)
    *_, winner, _, spread = run(x.contiguous(memory_format=layout), dy)
    _, exact = reference.backward(dy.double(), x.double(), winner, (pixels, pixels), "max", False)
    assert exact is not None
    torch.testing.assert_close(spread.double(), exact, rtol=1e-7, atol=0)  # sums in float: 2e-7 to 3e-7


def test_winners_are_made_only_if_they_are_kept() -> None:
    x = random_map(1, 2, 8, 8)
    assert launch.forward(x, (3, 3), "max", keep_winner=False)[1].numel() == 0
    assert launch.forward(x, (3, 3), "mean")[1].numel() == 0


def test_large_maps_are_shared_between_threads(threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Counting:
        @staticmethod
        def dynpool_run(job: Any) -> int:
            asked.append(job._obj.threads)
            return 0

    threads(3)
    monkeypatch.setattr(launch, "_parallel", lambda: 1)
    monkeypatch.setattr(build, "library", Counting)
    for pixels in (8, 512):
        launch.forward(torch.empty(1, 1, pixels, pixels), (4, 4), "sample")
    assert asked == [1, 3]


@pytest.mark.skipif(
    sys.platform != "linux" or "libgomp" not in Path("/proc/self/maps").read_text(), reason="no GNU OpenMP in PyTorch"
)
def test_it_shares_the_threads_of_pytorch() -> None:
    assert launch._parallel() is not None


def test_without_them_one_thread_does_it(threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_ALONE", 0)
    x = random_map(2, 64, 30, 30)
    expected = launch.forward(x, (13, 13), "max")[0]
    threads(2)
    monkeypatch.setattr(launch, "_parallel", lambda: None)
    assert torch.equal(launch.forward(x, (13, 13), "max")[0], expected)


def test_memory_is_given_back() -> None:
    x = random_map(1, 3, 100, 100)
    for _ in range(20):
        launch.forward(x, (50, 50), "max")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        launch.forward(x, (50, 50), "max")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; a call takes 1,500


def test_a_map_whose_memory_was_freed_is_an_error() -> None:
    x = random_map(1, 2, 8, 8).requires_grad_()
    y = dynpool.dynopool2d(x, torch.tensor([2.0, 2.0], requires_grad=True))
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="its storage has been freed"):
        y.sum().backward()


def test_no_memory_is_told() -> None:
    library, axis = build.library(), torch.zeros(1)
    assert library is not None
    job = launch._Job(planes=16, channels=16, pixels=2**55, cells=1, items=1, threads=1, x=axis.data_ptr())
    assert library.dynpool_run(ctypes.byref(job)) == 1


def test_no_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def dynpool_run(job: object) -> int:
            return 1

    monkeypatch.setattr(build, "library", Full)
    with pytest.raises(MemoryError, match=r"no memory to pool maps of \(8, 8\) pixels"):
        launch.forward(torch.zeros(1, 1, 8, 8), (4, 4), "max")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_pools_after_its_parent_has_with_several_threads(
    threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_ALONE", 0)
    threads(2)
    x = random_map(2, 64, 30, 30)
    expected = launch.forward(x, (13, 13), "max")[0]
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # as PyTorch does in a worker: OpenMP's threads are not in the child
        os._exit(0 if torch.equal(launch.forward(x, (13, 13), "max")[0], expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_operator_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    used, x = [], random_map(1, 2, 8, 8)

    def forward(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        used.append(arguments[0])
        return x, x

    monkeypatch.setattr(launch, "forward", forward)
    eager.forward(x, (3, 3), "max", True)
    assert used == [x]
