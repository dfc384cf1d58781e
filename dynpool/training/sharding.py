"""A network whose weights, gradients and optimiser states are divided between the processes of a run (FSDP2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from dynpool.resizers import learned_alphas

__all__ = ["average_gradients", "divided", "shard", "whole"]


def shard(model: nn.Module, groups: Sequence[dict[str, Any]], device: torch.device, processes: int) -> None:
    """Divide a network's weights between the processes, in place, and put the shards into the optimiser groups.

    Each child with weights that is a layer or a block of its own is gathered and freed by itself. Alphas stay whole in
    every process, as all of them need every size: `average_gradients` keeps them equal.
    """
    mesh = init_device_mesh(device.type, (processes,))
    alphas = {resizer.shared_alpha() for resizer in learned_alphas(model).values()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    listed = [[names[id(parameter)] for parameter in group["params"]] for group in groups]
    blocks = [child for child in model.children() if not isinstance(child, nn.ModuleList | nn.ModuleDict)]
    for block in [*blocks, model]:
        if any(parameter not in alphas for parameter in block.parameters()):
            fully_shard(block, mesh=mesh, ignored_params=alphas)
    shards = dict(model.named_parameters())
    for group, mine in zip(groups, listed, strict=True):
        group["params"] = [shards[name] for name in mine]


def average_gradients(parameters: Sequence[nn.Parameter], processes: int) -> None:
    """Replace the gradients by their means over the processes."""
    for parameter in parameters:
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= processes


def whole(state: Any) -> Any:
    """A state dict with its shards gathered, on the CPU. All processes must call this."""
    if isinstance(state, DTensor):
        return state.full_tensor().detach().cpu()
    if isinstance(state, Tensor):
        return state.detach().cpu()
    if isinstance(state, Mapping):
        return {key: whole(value) for key, value in state.items()}
    return [whole(value) for value in state] if isinstance(state, list) else state


def divided(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimiser's whole state dict with the shards of this process, as its parameters are divided."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    found = {
        index: {key: like(value, parameters[index]) for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": found}


def like(value: Any, parameter: Tensor) -> Any:
    """A whole tensor divided as a parameter of its shape is; anything else as it is."""
    if not (isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape):
        return value
    moved = value.to(parameter.device)
    return distribute_tensor(moved, parameter.device_mesh, parameter.placements, src_data_rank=None)
