"""The plots of a receptive-field report by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from dynpool.common.names import nearest

from .fields import plot_fields
from .image import plot_on_image
from .network import plot_network

if TYPE_CHECKING:
    from ...fields import FieldReport

__all__ = ["KINDS", "plot_report"]

KINDS: Mapping[str, Callable[..., Figure]] = MappingProxyType(
    {"fields": plot_fields, "network": plot_network, "image": plot_on_image}
)


_OPTIONS = {"image": ("layers", "image")}


def plot_report(report: FieldReport, kind: str, options: Mapping[str, Any]) -> Figure:
    """The plot of the given kind.

    Raises:
        TypeError: for options that the kind does not have.
        ValueError: for an unknown kind, with the known ones in the message, or a report that this kind cannot show.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown plot kind {kind!r}{nearest(str(kind), KINDS)}")
    known = _OPTIONS.get(kind, ())
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(f"a plot of kind {kind!r} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return KINDS[kind](report, **options)
