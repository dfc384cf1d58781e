"""Refinement plans: edits as plain data that can be printed, stored as JSON and applied to another copy of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dynpool.analysis.common.axis_names import one_or_all
from dynpool.analysis.common.cost_unit import cost_unit
from dynpool.analysis.common.text_table import aligned
from dynpool.graph import check_input_size, deep_copy, trace
from dynpool.size_math import PerAxis

from .layer_changes import LayerChange, change_layer, name_pools

__all__ = ["Edit", "RefinementPlan", "apply_edits", "check_i_min"]


_LISTED = 4  # layers named in one line


@dataclass(frozen=True)
class Edit:
    """One edit of a network, with all layer changes that it needs.

    Attributes:
        what: the kind of edit: "removed", "weakened", "moved", "widened", ...
        changes: the changes of single layers, in the order in which they are applied. `RefinementPlan.apply` raises
            ValueError if a layer does not have the value that a change expects.
    """

    what: str
    changes: tuple[LayerChange, ...]


@dataclass(frozen=True)
class RefinementPlan:
    """The result of `refine`. `str()` prints it, `to_dict` and `from_dict` store it, `apply` repeats it.

    Attributes:
        input_size: (C, H, W) in pixels, or other axes; (H, W) is I_res.
        way: "less downsampling", "shorter and wider", or the name of a published edit.
        edits: the edits; empty if none is needed or none helps.
        i_min_before, i_min_after: max over layers of r_min (Richter and Pal, Eq. 7), per axis in pixels.
        gmacs_before, gmacs_after: 1e9 multiply-accumulates for one image.
        parameters_before, parameters_after: numbers of weights.
        why: the reason why I_min < I_res is not reached, or a remark on what could not be done; else empty.
        stays: layer -> reason, for the downsamplings that no edit can change.
    """

    input_size: tuple[int, ...]
    way: str
    edits: tuple[Edit, ...]
    i_min_before: PerAxis
    i_min_after: PerAxis
    gmacs_before: float
    gmacs_after: float
    parameters_before: int
    parameters_after: int
    why: str = ""
    stays: Mapping[str, str] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether I_min < I_res along all axes after the edits."""
        return all(r < n for r, n in zip(self.i_min_after, self.input_size[1:], strict=True))

    def apply(self, model: nn.Module, *, inputs: Any = None) -> nn.Module:
        """A copy of `model` with the plan's edits; weights, mode, dtype and device are kept.

        Stride edits keep all names and shapes of the state dict; layers whose shape changes get new weights. `inputs`
        are the arguments of the model's forward, if an image is not enough.

        Raises:
            TypeError: if `model` is not an nn.Module.
            ValueError: if a layer is missing or does not have the value that the plan expects; the message names it.
        """
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
        known = {name for name, _ in model.named_modules()}
        if any(change.layer not in known for edit in self.edits for change in edit.changes):
            model = deep_copy(model)
            name_pools(model, trace(model, self.input_size, inputs=inputs, every_window=True))
        return apply_edits(model, self.edits)

    def to_dict(self) -> dict[str, Any]:
        """The plan as dicts, lists, strings and numbers, ready for JSON."""
        return {
            "input_size": list(self.input_size),
            "way": self.way,
            "edits": [{"what": e.what, "changes": [c.to_dict() for c in e.changes]} for e in self.edits],
            "i_min_before": list(self.i_min_before),
            "i_min_after": list(self.i_min_after),
            "gmacs_before": self.gmacs_before,
            "gmacs_after": self.gmacs_after,
            "parameters_before": self.parameters_before,
            "parameters_after": self.parameters_after,
            "reached": self.reached,
            "why": self.why,
            "stays": dict(self.stays),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RefinementPlan:
        """The plan that `to_dict` returned as `plain`.

        Raises:
            ValueError: if `plain` is not a plan; the message names what is missing or wrong.
        """
        if not isinstance(plain, Mapping):
            raise ValueError(f"not a refinement plan: expected a dict, got a {type(plain).__name__}")
        try:
            size = check_input_size(plain["input_size"])
            return cls(
                input_size=size,
                way=str(plain["way"]),
                edits=tuple(
                    Edit(str(e["what"]), tuple(LayerChange.from_dict(c) for c in e["changes"])) for e in plain["edits"]
                ),
                i_min_before=_per_axis(plain["i_min_before"], len(size) - 1),
                i_min_after=_per_axis(plain["i_min_after"], len(size) - 1),
                gmacs_before=float(plain["gmacs_before"]),
                gmacs_after=float(plain["gmacs_after"]),
                parameters_before=int(plain["parameters_before"]),
                parameters_after=int(plain["parameters_after"]),
                why=str(plain["why"]),
                stays={str(k): str(v) for k, v in plain["stays"].items()},
            )
        except KeyError as error:
            raise ValueError(f"not a refinement plan: missing key {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a refinement plan: {error}") from error

    def __str__(self) -> str:
        rows = [(e.what if i == 0 else "", *c.cells()) for e in self.edits for i, c in enumerate(e.changes)]
        table = [("edit", "layer", "", "before", "", "after"), *rows] if rows else []
        lines = aligned(table, left=range(6))
        count = len(self.edits)
        done = "no edit" if count == 0 else "1 edit" if count == 1 else f"{count} edits"
        verdict = "below" if self.reached else "not below"
        unit = cost_unit([self.gmacs_before, self.gmacs_after])
        lines.append(
            f"{done} ({self.way}): I_min {_show(self.i_min_before)} -> {_show(self.i_min_after)}, {verdict} "
            f"I_res {_show(self.input_size[1:])}"
        )
        lines.append(
            f"{unit.name} {unit.show(self.gmacs_before)} -> {unit.show(self.gmacs_after)}, "
            f"parameters {self.parameters_before:,} -> {self.parameters_after:,}"
        )
        if self.why:
            lines.append(f"{'note' if self.reached else 'not reached'}: {self.why}")
        if not self.reached:
            layers_of: dict[str, list[str]] = {}
            for layer, reason in self.stays.items():
                layers_of.setdefault(reason, []).append(layer)
            lines += [f"cannot be changed: {_listed(layers)}: {reason}" for reason, layers in layers_of.items()]
        return "\n".join(lines)


def apply_edits(model: nn.Module, edits: Sequence[Edit]) -> nn.Module:
    """A copy of `model` with the edits applied; raises ValueError like `RefinementPlan.apply`."""
    refined = deep_copy(model)
    for edit in edits:
        for change in edit.changes:
            change_layer(refined, change)
    return refined


def check_i_min(expected: PerAxis, found: PerAxis) -> None:
    """Raise ValueError unless a network has the I_min of the one that edits are for."""
    if expected != found:
        raise ValueError(f"the edits are for a network with I_min {_show(expected)}, but this one has {_show(found)}")


def _per_axis(values: Sequence[Any], axes: int) -> PerAxis:
    found = tuple(map(float, values))
    if len(found) != axes:
        raise ValueError(f"expected {axes} values, got {len(found)}")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _show(values: Sequence[float]) -> str:
    """Values rounded to 0.1, as one number if all agree: '3' or '3x5'."""
    return one_or_all(tuple(f"{round(v, 1):g}" for v in values))
