"""The conversion report: one row of data per resizer, and its printed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import nn

from dynpool.common.arguments import check_model
from dynpool.graph import Resize
from dynpool.resolution import only_module
from dynpool.size_math import axes_text

__all__ = [
    "FIXED_OUTPUT",
    "ConversionReport",
    "ConversionRow",
    "NothingToLearnError",
    "Status",
    "attach_report",
    "conversion_report",
    "detach_report",
    "kind_text",
]

Status = Literal["converted", "tied", "follows", "pinned", "left alone"]

FIXED_OUTPUT = "its output size is fixed"  # why an adaptive pool is left alone

_ATTRIBUTE = "_dynpool_report"


@dataclass(frozen=True)
class ConversionRow:
    """One resizer: its module path, kind, resolution, status and, unless converted, the reason.

    `macs` are the multiply-accumulates of the layer for one image, before and after conversion.
    """

    name: str
    kind: str
    resolution: str
    status: Status
    why: str = ""
    macs: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class ConversionReport:
    """One row for each resizer of the original model, in order of execution.

    `macs` are the multiply-accumulates of the whole model for one image, before and after conversion: a layer with
    stride s costs s² times as much at stride 1. They are zero, and not printed, if the model was not converted.

    `not_understood` names the operations without a rule; `notes` list differences between training and eval mode.
    """

    input_size: tuple[int, ...]
    rows: tuple[ConversionRow, ...]
    not_understood: tuple[str, ...]
    notes: tuple[str, ...] = ()
    macs: tuple[int, int] = (0, 0)

    def of(self, status: Status) -> tuple[ConversionRow, ...]:
        return tuple(r for r in self.rows if r.status == status)

    def to_dict(self) -> dict[str, Any]:
        return {
            "input_size": list(self.input_size),
            "rows": [vars(r) for r in self.rows],
            "not_understood": list(self.not_understood),
            "macs": list(self.macs),
            "notes": list(self.notes),
        }

    def with_macs(self, before: Mapping[str, int], after: Mapping[str, int]) -> ConversionReport:
        """This report with the MACs of all layers of the model, by module path, before and after conversion."""
        rows = tuple(replace(r, macs=(before.get(r.name, 0), after.get(r.name, 0))) for r in self.rows)
        return replace(self, rows=rows, macs=(sum(before.values()), sum(after.values())))

    def __str__(self) -> str:
        name, kind = (max([len(getattr(r, key)) for r in self.rows] + [8]) for key in ("name", "kind"))

        def macs(before: str, after: str) -> str:
            return f"{before:>15}  {after:>15}  " if any(self.macs) else ""

        lines = [f"{'resizer':<{name}}  {'kind':<{kind}}  {'status':<10}  {macs('MACs before', 'after')}resolution"]
        for r in self.rows:
            what = f"{r.name:<{name}}  {r.kind:<{kind}}  {r.status:<10}  {macs(*(f'{n:,}' for n in r.macs))}"
            lines.append(f"{what}{r.resolution}{': ' * bool(r.why)}{r.why}")
        if any(self.macs):
            lines.append(
                f"{'the model':<{name}}  {'':<{kind}}  {'':<10}  {macs(*(f'{n:,}' for n in self.macs))}".rstrip()
            )
        counts = {s: len(self.of(s)) for s in get_args(Status)}
        lines.append(", ".join(f"{n} {s}" for s, n in counts.items() if n))
        if self.not_understood:
            lines.append("operations without a rule: " + ", ".join(self.not_understood))
        lines += self.notes
        return "\n".join(lines)


def kind_text(resize: Resize) -> str:
    """An operation with its kernel and stride, such as "convolution 3x3 stride 2"."""
    stride = resize.stride[:1] if len(set(resize.stride)) == 1 else resize.stride
    return f"{resize.kind} {'x'.join(map(str, resize.kernel))} stride {'x'.join(map(str, stride))}"


class NothingToLearnError(ValueError):
    """A model has no resizer that can be learned.

    Attributes:
        report: the status of each resizer, with its reason; without rows if no layer of the model resizes.
    """

    def __init__(self, report: ConversionReport, model: str = "model") -> None:
        super().__init__(report, model)
        self.report, self._model = report, model

    def __str__(self) -> str:
        size = self.report.input_size
        along = "" if len(size) == 3 else f" along {axes_text(len(size) - 1)} of input_size={size}"
        if self.report.rows:
            return f"no resizer of the {self._model} can be learned{along}:\n{self.report}"
        return f"the {self._model} has no pooling or strided layer{along}: there is nothing to learn"


def attach_report(model: nn.Module, report: ConversionReport) -> None:
    """Set the report that `conversion_report(model)` returns."""
    setattr(model, _ATTRIBUTE, report)


def detach_report(model: nn.Module) -> None:
    """Undo `attach_report`, if the model has a report."""
    vars(model).pop(_ATTRIBUTE, None)


def conversion_report(model: nn.Module) -> ConversionReport:
    """The report of a conversion: what `convert` did with each resizer.

    Raises:
        ValueError: if the model was not made by `convert`.
    """
    check_model(model)
    model = only_module(model, lambda module: _ATTRIBUTE in vars(module), "converted models")
    report = vars(model).get(_ATTRIBUTE)
    if not isinstance(report, ConversionReport):
        raise ValueError(f"model is a {type(model).__name__}, which was not made by dynpool.convert")
    return report
