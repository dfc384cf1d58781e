"""One row of an inspection report: a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .probes import Probe
from .saturation import Saturation

__all__ = ["InspectionRow"]

Floats = tuple[float, ...]


@dataclass(frozen=True)
class InspectionRow:
    """One layer. Fields have one entry per axis, (height, width), in pixels of the image.

    Attributes:
        name: the module's path; from its second run in a forward pass on with "#2" and so on.
        kind: the module's class.
        size: (height, width) of its output map, or (tokens,); empty without positions.
        channels: of its output.
        r_min_in: receptive field of the layer's input along the shortest path; None if the layer is no convolution,
            pool or resizer.
        r_max_in: along the longest path that is not global.
        r_min: of its output, along the shortest path; infinite behind a global operation.
        r_max_local: of its output, along the longest path that is not global.
        unproductive: whether r_min_in >= I_res along all axes, as in `receptive_field`; None where it is None.
        probe: on the held-out images; None if not asked for.
        relative: accuracy of the probe / accuracy of the model; None if one of the two is missing.
        saturation: None if not asked for.
        samples: positions of all images that the saturation is of.
    """

    name: str
    kind: str
    size: tuple[int, ...]
    channels: int
    r_min_in: Floats | None
    r_max_in: Floats | None
    r_min: Floats | None
    r_max_local: Floats | None
    unproductive: bool | None
    probe: Probe | None
    relative: float | None
    saturation: Saturation | None
    samples: int

    @property
    def is_local(self) -> bool:
        """Whether the layer has a receptive field that is not the whole image by a global operation."""
        return self.r_min_in is not None

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        probe, found = self.probe, self.saturation
        return {
            "name": self.name,
            "kind": self.kind,
            "size": list(self.size),
            "channels": self.channels,
            **{key: _plain(getattr(self, key)) for key in ("r_min_in", "r_max_in", "r_min", "r_max_local")},
            "unproductive": self.unproductive,
            "probe_accuracy": None if probe is None else probe.accuracy,
            "probe_error": None if probe is None else probe.error,
            "probe_converged": None if probe is None else probe.converged,
            "probe_iterations": None if probe is None else probe.iterations,
            "relative": self.relative,
            "saturation": None if found is None else found.share,
            "directions": None if found is None else found.directions,
            "directions_needed": None if found is None else found.needed,
            "samples": self.samples,
        }


def _plain(field: Floats | None) -> list[float] | None:
    return None if field is None else list(field)
