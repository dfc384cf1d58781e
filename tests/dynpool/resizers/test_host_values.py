"""Alphas are read wherever they can be: under torch.func, after writes that leave no mark, in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.func import functional_call, grad, jvp, stack_module_state, vmap
from torch.multiprocessing.spawn import spawn
from torch.utils._python_dispatch import TorchDispatchMode

import dynpool
from dynpool.resizers import host_values
from dynpool.resizers import learned_alpha as resizer_module
from tests.networks import two_resizers

SIZE = (3, 32, 32)


@pytest.fixture
def model() -> nn.Module:
    model = dynpool.convert(two_resizers(), SIZE)
    dynpool.set_sizes(model, {"1": (13, 17)})
    return model


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_gradients_of_functional_calls_are_those_of_the_tape(model: nn.Module) -> None:
    x = torch.randn(3, *SIZE)
    found = grad(lambda p: functional_call(model, p, (x,)).square().sum())(state(model))
    model(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)
    single = vmap(grad(lambda p, one: functional_call(model, p, (one[None],)).square().sum()), (None, 0))(
        state(model), x
    )
    torch.testing.assert_close({name: g.sum(0) for name, g in single.items()}, found, rtol=1e-4, atol=1e-5)


class Captured(TorchDispatchMode):
    """Operators and the shapes of their results, which a CUDA graph would repeat; those that read values are errors."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[str, list[torch.Size]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.equal.default"}
        assert str(func) not in reads, f"{func} reads from the device"
        found = func(*args, **(kwargs or {}))
        results = found if isinstance(found, (tuple, list)) else [found]
        self.ran.append((str(func), [result.shape for result in results if isinstance(result, Tensor)]))
        return found


def test_a_training_step_can_be_captured_until_a_size_changes(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resizer_module, "_READ_ALWAYS", frozenset[str]())  # as on a GPU
    read, reads = host_values.read_values, list[int]()

    def counted(alphas: Any) -> Any:
        reads.append(len(alphas))
        return read(alphas)

    monkeypatch.setattr(resizer_module, "read_values", counted)
    optimizer = torch.optim.SGD(dynpool.parameter_groups(model, lr=1e-4, alpha_lr=0.0))
    x = torch.randn(2, *SIZE)

    def captured() -> list[tuple[str, list[torch.Size]]]:
        optimizer.zero_grad(set_to_none=True)
        dynpool.constrain(model)
        before = sum(reads)
        with Captured() as step:
            model(x).square().sum().backward()
            optimizer.step()
        assert sum(reads) == before
        return step.ran

    captured()  # as warms a graph up
    first = captured()
    assert any("dynpool.dynopool2d_backward" in name for name, _ in first)
    assert captured() == first
    dynpool.set_sizes(model, {"1": (11, 17)})
    captured()
    other = captured()
    assert [name for name, _ in other] == [name for name, _ in first]
    assert other != first
    assert captured() == other


def test_given_alphas_decide_the_sizes_and_are_not_written_to(model: nn.Module) -> None:
    given, own, seen = state(model), state(model), []
    model.get_submodule("1").register_forward_hook(lambda m, a, y: seen.append(tuple(y.shape[-2:])))
    x = torch.randn(1, *SIZE)
    given["1.alpha"] = torch.tensor([4.0, 100.0])
    functional_call(model, given, (x,))
    model(x)
    assert seen == [(8, 4), (13, 17)]
    assert given["1.alpha"].tolist() == [4.0, 100.0]
    torch.testing.assert_close(state(model), own, rtol=0, atol=0)


def test_what_torch_func_cannot_do_is_one_line(model: nn.Module) -> None:
    x, other = torch.randn(1, *SIZE), dynpool.convert(two_resizers(), SIZE)
    with pytest.raises(RuntimeError, match="no forward-mode derivatives"):
        jvp(lambda a: functional_call(model, {"1.alpha": a}, (x,)), (torch.ones(2),), (torch.ones(2),))
    parameters, _ = stack_module_state([model, other])
    with pytest.raises(ValueError, match=r"torch\.vmap maps over different alphas"):
        vmap(lambda p: functional_call(model, p, (x,)))(parameters)


@pytest.mark.parametrize("accelerator", [False, True])
def test_a_fused_optimiser_and_writes_through_data_are_seen(
    model: nn.Module, accelerator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if accelerator:
        monkeypatch.setattr(resizer_module, "_READ_ALWAYS", frozenset())
    loss, x, seen = dynpool.GMACsLoss(model, SIZE), torch.randn(1, *SIZE), []
    model.get_submodule("1").register_forward_hook(lambda m, a, y: seen.append(tuple(y.shape[-2:])))
    alpha = dynpool.resolutions(model)["1"].alpha
    optimizer = torch.optim.SGD([alpha], lr=1.0, fused=True)
    for _ in range(3):
        alpha.grad = torch.tensor([-0.2, 0.1])
        optimizer.step()
        dynpool.constrain(model)
        model(x)
        assert seen[-1] == dynpool.sizes(model, SIZE)["1"]
        assert loss.value() == dynpool.count_macs(model, SIZE).gmacs
    assert seen[-1] != (13, 17)
    alpha.data.fill_(4.0)
    if accelerator:
        dynpool.constrain(model, trust=10.0)
    model(x)
    assert seen[-1] == dynpool.sizes(model, SIZE)["1"] == (8, 8)


def test_without_constrain_a_bad_step_is_a_small_one_and_is_said(model: nn.Module) -> None:
    alpha = dynpool.resolutions(model)["1"].alpha
    before = alpha.tolist()
    with torch.no_grad():
        alpha.copy_(torch.tensor([-9.0, 2.0]))
    with pytest.warns(UserWarning, match=r"call dynpool\.constrain\(model\) after each"):
        model(torch.randn(1, *SIZE))
    assert alpha.tolist() == pytest.approx([before[0] / 1.1, 2.0])


def _sharded(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model, plain = (dynpool.convert(two_resizers(), SIZE) for _ in range(2))
    losses = [dynpool.GMACsLoss(one, SIZE) for one in (model, plain)]
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    fully_shard(model, mesh=mesh)
    found = []
    for one, loss in zip((model, plain), losses, strict=True):
        torch.manual_seed(0)  # the same images everywhere: then sharding changes nothing
        optimizer = torch.optim.SGD(dynpool.parameter_groups(one, alpha_lr=200.0))
        for _ in range(3):
            optimizer.zero_grad()
            (one(torch.randn(2, *SIZE)).square().sum() + loss()).backward()
            optimizer.step()
            dynpool.constrain(one)
        dynpool.set_sizes(one, {"2": (5, 6)})
        assert loss.value() == dynpool.count_macs(one, SIZE).gmacs == dynpool.GMACsLoss(one, SIZE).value()
        found.append((dynpool.sizes(one, SIZE), loss.value()))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_sharded_models_learn_the_sizes_of_whole_ones(tmp_path: Path) -> None:
    spawn(_sharded, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second
    assert first[0] == first[1]
    assert first[0][0]["1"] != (16, 16)
