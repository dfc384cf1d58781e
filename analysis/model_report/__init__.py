"""The report of one model: its receptive fields as text, files and plots."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names

if TYPE_CHECKING:
    from .effective import EffectiveField, effective_receptive_field
    from .plots.image import chosen_layers, read_picture
    from .receptive_field import receptive_field
    from .text import table, verdict
    from .write import write_analysis

__all__ = [
    "EffectiveField",
    "chosen_layers",
    "effective_receptive_field",
    "read_picture",
    "receptive_field",
    "table",
    "verdict",
    "write_analysis",
]

if not TYPE_CHECKING:  # a command imports only what it needs
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "effective": "EffectiveField effective_receptive_field",
            "plots.image": "chosen_layers read_picture",
            "receptive_field": "receptive_field",
            "text": "table verdict",
            "write": "write_analysis",
        },
    )
