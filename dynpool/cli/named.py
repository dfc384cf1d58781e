"""Models by name with the weights of a checkpoint, as several commands take them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["with_checkpoint"]


def with_checkpoint(
    name: str, input_size: Sequence[int], checkpoint: Path, prefix: str, *, classes: int | None = None
) -> "tuple[str, nn.Module]":
    """The full name of a model, and the model with the weights of a checkpoint, and its learned sizes if it has them.

    Args:
        name: see `dynpool.analysis.integrations.named_models.named_model`.
        input_size: (C, *spatial) in pixels.
        checkpoint: a file that `dynpool.load` reads.
        prefix: of all names in the checkpoint.
        classes: outputs of a model of timm or torchvision; None: the library's default.

    Raises:
        ValueError: for an unknown name, or a file that does not fit the model.
        FileNotFoundError: if there is no such file.
    """
    from dynpool.analysis.integrations import named_model
    from dynpool.conversion import load, read_state_dict

    read_state_dict(checkpoint)  # which takes less time than a large model does to be built
    full, model = named_model(name, input_size, classes=classes)
    try:
        return full, load(model, checkpoint, prefix=prefix)
    except ValueError as error:
        if classes is None:
            raise
        raise ValueError(f"{error} (the model was built for {classes} classes)") from error
