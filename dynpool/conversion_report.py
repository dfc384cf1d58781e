"""What a conversion did with each resizer, as data: one row each, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

__all__ = ["ConversionReport", "ConversionRow", "Status", "attach_report", "conversion_report", "detach_report"]

Status = Literal["converted", "tied", "follows", "pinned", "left alone"]

_ATTRIBUTE = "_dynpool_report"


@dataclass(frozen=True)
class ConversionRow:
    """What became of one resizer: its module path, kind, resolution, status and, unless converted, why."""

    name: str
    kind: str
    resolution: str
    status: Status
    why: str = ""


@dataclass(frozen=True)
class ConversionReport:
    """One row for each resizer of the original model, in order of execution.

    `not_understood` names the operations that no rule describes; `notes` says where training and eval mode differ.
    """

    input_size: tuple[int, int, int]
    rows: tuple[ConversionRow, ...]
    not_understood: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def of(self, status: Status) -> tuple[ConversionRow, ...]:
        return tuple(r for r in self.rows if r.status == status)

    def to_dict(self) -> dict[str, Any]:
        return {
            "input_size": list(self.input_size),
            "rows": [vars(r) for r in self.rows],
            "not_understood": list(self.not_understood),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        width = max([len(r.name) for r in self.rows] + [7])
        lines = [f"{'resizer':<{width}}  {'kind':<28}  {'status':<10}  resolution"]
        for r in self.rows:
            lines.append(f"{r.name:<{width}}  {r.kind:<28}  {r.status:<10}  {r.resolution}{': ' * bool(r.why)}{r.why}")
        counts = {s: len(self.of(s)) for s in get_args(Status)}
        lines.append(", ".join(f"{n} {s}" for s, n in counts.items() if n))
        if self.not_understood:
            lines.append("operations without a rule: " + ", ".join(self.not_understood))
        lines += self.notes
        return "\n".join(lines)


def attach_report(model: nn.Module, report: ConversionReport) -> None:
    """Let `conversion_report(model)` give `report`."""
    setattr(model, _ATTRIBUTE, report)


def detach_report(model: nn.Module) -> None:
    """Undo `attach_report`."""
    delattr(model, _ATTRIBUTE)


def conversion_report(model: nn.Module) -> ConversionReport:
    """What `convert` did with each resizer of a converted model.

    Raises:
        ValueError: if the model was not made by `convert`.
    """
    report = getattr(model, _ATTRIBUTE, None)
    if not isinstance(report, ConversionReport):
        raise ValueError(f"the {type(model).__name__} was not made by dynpool.convert")
    return report
