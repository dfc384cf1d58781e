"""A network compiled by `torch.compile`, whose failure says how to continue a run."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .errors import TrainingError
from .stop import FINISHED

__all__ = ["compiled_network"]


def compiled_network(network: nn.Module, run: str) -> Callable[[Tensor], Tensor]:
    """The network, compiled when it is first called.

    Args:
        network: which is left as it is.
        run: the name of the run, for the error.

    Raises:
        TrainingError: when it is called, if the network cannot be compiled.
    """
    from torch._dynamo.exc import BackendCompilerFailed

    compiled = torch.compile(network)

    def called(images: Tensor) -> Tensor:
        try:
            found: Tensor = compiled(images)
        except BackendCompilerFailed as error:
            first = str(error).strip().partition("\n")[0]
            raise TrainingError(
                f"{run}: torch.compile cannot compile the network: {first}; {FINISHED}: continue with --resume "
                "--compile false"
            ) from error
        return found

    return called
