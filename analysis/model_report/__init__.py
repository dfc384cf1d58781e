"""The report of one model: its receptive fields as text, files and plots."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names

if TYPE_CHECKING:
    from .plots.image import chosen_layers, read_picture
    from .text import verdict
    from .write import write_analysis

__all__ = [
    "chosen_layers",
    "read_picture",
    "verdict",
    "write_analysis",
]

if not TYPE_CHECKING:  # a command imports only what it needs
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "plots.image": "chosen_layers read_picture",
            "text": "verdict",
            "write": "write_analysis",
        },
    )
