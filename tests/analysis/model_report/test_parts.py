"""Modules have all that runs in them, each operation once at every level, as sums over the trace say."""

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from dynpool.analysis import receptive_field
from dynpool.analysis.model_report.parts import module_parts, operator_parts


class Shares(nn.Module):
    """One module that runs twice, one that does not run, a shared weight, functions, a list of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(2)])
        self.head = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "unused": nn.Linear(3, 3)})
        self.head["b"].weight = self.head["a"].weight
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = nn.functional.max_pool2d(block(block(x)), 2)
        out: Tensor = self.head["b"](self.head["a"](self.drop(x.mean((2, 3)))))
        return out


def test_rows_of_a_model_with_shared_and_repeated_modules() -> None:
    report = receptive_field(Shares(), (3, 16, 16))
    rows = {part.name: part for part in module_parts(report, 3)}
    assert list(rows) == [
        "", "blocks", "blocks.0", "blocks.0.0", "blocks.0.1", "blocks.1", "blocks.1.0", "blocks.1.1",
        "head", "head.a", "head.b", "max_pool2d",
    ]  # fmt: skip
    assert [rows[name].calls for name in ("", "blocks", "blocks.0", "head.a", "max_pool2d")] == [1, 0, 2, 1, 2]
    conv = 3 * 3 * 9
    assert rows["blocks.0"].macs == rows["blocks.0.0"].macs == 2 * 256 * conv
    assert rows["blocks.1"].macs == 2 * 64 * conv
    assert rows[""].macs == report.total_macs == 2 * 256 * conv + 2 * 64 * conv + 2 * 9
    assert (rows["blocks"].parameters, rows["head"].parameters) == (2 * (conv + 3), 3 * 3 + 9 + 9)
    assert (rows["head.a"].parameters, rows["head.b"].parameters) == (12, 3)  # the shared weight counts once
    assert rows[""].parameters == report.total_parameters
    assert rows["blocks"].r_min == (14, 14)  # r: 3, 5, 6, 10, 14, 16, the pools outside
    assert rows[""].r_min == report.i_min == (16, 16)
    assert (rows["blocks.1"].input, rows["blocks.1"].output) == ((1, 3, 8, 8), (1, 3, 8, 8))
    assert (rows["blocks"].input, rows["max_pool2d"].output) == ((1, 3, 16, 16), (1, 3, 8, 8))
    assert [part.name for part in module_parts(report, 0)] == [""]


@pytest.mark.parametrize("name", ["tv.resnet18", "timm.vit_tiny_patch16_224", "timm.swin_tiny_patch4_window7_224"])
def test_levels_add_up_to_the_trace(name: str) -> None:
    library, _, short = name.partition(".")
    with torch.device("meta"):
        model = torchvision.models.get_model(short) if library == "tv" else timm.create_model(short)
    report = receptive_field(model, (3, 224, 224), batch=2)
    graph, memory = report.graph, report.memory
    parts = module_parts(report, 99)
    for part in parts:
        if part.name in graph.classes_of and part.kind == graph.classes_of[part.name]:
            inside = [n.index for n in graph.nodes if f"{n.path}.".startswith(f"{part.name}." if part.name else "")]
            assert part.macs == sum(graph.macs_by_node.get(index, 0) for index in inside)
            assert part.activations == sum(memory.made[index] for index in inside)
            assert part.peak == max(memory.held[index] for index in inside)
            module = model.get_submodule(part.name)
            assert part.parameters == sum(p.numel() for p in module.parameters())
            tensors = [*module.parameters(), *module.buffers()]
            assert part.weights == sum(t.numel() * t.element_size() for t in tensors)
    assert parts[0].peak == memory.peak
    by_operator = operator_parts(report)
    assert sum(part.macs for part in by_operator) == report.total_macs
    assert sum(part.calls for part in by_operator) == len(graph.nodes)
    assert {part.name: part.macs for part in by_operator if part.macs} == report.cost.by_operator
