"""The processes of a run: how they share a network's gradients, and the state of all of them in one checkpoint."""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim import Optimizer

from dynpool.resizers import host_alphas, host_extents, learned_alphas, learned_kernels

from . import checkpoint as checkpoints
from .config import RunConfig

__all__ = ["Ranks", "SharedState", "on_cpu"]


@dataclass(frozen=True)
class SharedState:
    """What a checkpoint holds of all processes.

    Attributes:
        model, optimizer: state dicts on the CPU; empty in processes that write no checkpoint.
        ranks: the generator states of each process; None of a single process.
    """

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    ranks: Sequence[Mapping[str, Tensor]] | None


class Ranks:
    """The processes that train a network together; there may be only one.

    Args:
        accelerator: of the run.
        config: of the run; `sync_batch_norm` and `shard` take effect if there are several processes.
        model: the network, which is changed as they say.
        groups: optimiser groups, whose parameters are replaced by their shards with `shard`.
    """

    def __init__(
        self, accelerator: Accelerator, config: RunConfig, model: nn.Module, groups: Sequence[dict[str, Any]]
    ) -> None:
        self.accelerator, self.count = accelerator, accelerator.num_processes
        self.sharded = config.shard and self.count > 1
        if config.sync_batch_norm and self.count > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self._resizers = list(learned_alphas(model).values())
        self._kernels = list(learned_kernels(model).values())
        if self.sharded:
            from .sharding import shard

            model.to(accelerator.device)
            shard(model, groups, accelerator.device, self.count, self._of_sizes())

    def wrap(self, model: nn.Module, optimizer: Optimizer) -> tuple[Any, Any]:
        """The network that is called in training, and its optimiser."""
        if not self.sharded:
            wrapped, prepared = self.accelerator.prepare(model, optimizer)
            return wrapped, prepared
        return self.accelerator.prepare_model(model, evaluation_mode=True), self.accelerator.prepare(optimizer)

    def mark_of_sizes(self) -> int:
        """A checksum of alphas and kernel sizes, 0 to 2**31 - 1; 0 without other processes to compare it with."""
        if self.count == 1 or not (self._resizers or self._kernels):
            return 0
        values = [number for pair in (*host_alphas(self._resizers), *host_extents(self._kernels)) for number in pair]
        return zlib.crc32(struct.pack(f"{len(values)}d", *values)) & 0x7FFFFFFF

    def average_gradients(self) -> None:
        """Average over the processes what no wrapper does: the gradients that move the sizes of sharded networks."""
        if self.sharded:
            from .sharding import average_gradients

            average_gradients(self._of_sizes(), self.count)

    def _of_sizes(self) -> list[nn.Parameter]:
        """The parameters that determine sizes of maps and kernels."""
        alphas = [resizer.shared_alpha() for resizer in self._resizers]
        return [*alphas, *(parameter for layer in self._kernels for parameter in layer.size_parameters())]

    def shared_state(self, model: nn.Module, optimizer: Optimizer) -> SharedState:
        """The state of all processes, which must all call this."""
        ranks = gather_object([checkpoints.rng_state()]) if self.count > 1 else None
        if self.sharded:
            from .sharding import whole

            return SharedState(on_cpu(model, whole), whole(optimizer.state_dict()), ranks)
        if self.accelerator.is_main_process:
            return SharedState(on_cpu(model), optimizer.state_dict(), ranks)
        return SharedState({}, {}, ranks)

    def join_pass(self, model: nn.Module, images: Tensor) -> None:
        """Take part in a pass of other processes, which gather the shards of this one, without images of its own."""
        if self.sharded:
            model(images.new_zeros(1, *images.shape[1:]))

    def restore(self, model: nn.Module, optimizer: Optimizer, saved: checkpoints.Checkpoint, path: Any) -> None:
        """Restore the weights and the optimiser of a checkpoint. See `checkpoint.restore_model` for the errors."""
        if not self.sharded:
            checkpoints.restore_model(model, saved, path)
            checkpoints.restore_optimizer(optimizer, saved, path)
            return
        from .sharding import divided, like

        own = model.state_dict()
        checkpoints.restore_model(model, saved, path, divide=lambda name, value: like(value, own[name]))
        checkpoints.restore_optimizer(optimizer, saved, path, divide=lambda state: divided(state, optimizer))


def on_cpu(model: nn.Module, whole: Callable[[Tensor], Tensor] = lambda value: value) -> dict[str, Tensor]:
    """The state dict of a network on the CPU, with its metadata, which describes the conversion."""
    state = model.state_dict()
    for name, value in state.items():
        state[name] = whole(value).detach().cpu().contiguous()
    return state
