"""A survey runs each pass once, when it is asked for, and gives what single passes give."""

from typing import Any

import pytest
from torch import Tensor, nn

import dynpool
from dynpool.cost.cost_model import CostModel
from dynpool.graph import forward_pass, tracer
from dynpool.graph.survey import Survey
from dynpool.graph.tracer import trace, trace_shapes


class AuxiliaryHead(nn.Module):
    """While it trains, a second head pools once more."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2))
        self.head = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x).mean() + x.mean() if self.training else x.mean()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The input sizes of all passes of a test."""
    found: list[tuple[int, ...]] = []
    run = forward_pass.run_pass

    def noted(model: nn.Module, example: Any, *args: Any) -> None:
        found.append(example.size)
        run(model, example, *args)

    monkeypatch.setattr(tracer, "run_pass", noted)
    return found


def vgg() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, stride=2, padding=1))


def test_the_structure_is_traced_once_and_serves_as_the_trace_at_its_size(passes: list[tuple[int, ...]]) -> None:
    survey = Survey(vgg(), (3, 32, 32))
    assert not passes
    assert survey.at_input_size is survey.at_input_size
    assert passes == [(3, 32, 32)]
    survey = Survey(vgg(), (3, 32, 32))
    assert survey.structure is survey.at_input_size
    assert passes[1:] == [(3, 64, 96), (3, 32, 32)]


def test_a_compared_trace_serves_as_one_that_is_not(passes: list[tuple[int, ...]]) -> None:
    survey = Survey(vgg(), (3, 32, 32))
    assert survey.compared.larger == (3, 64, 96)
    here = survey.at_input_size
    assert here.larger is None
    assert len(passes) == 2
    alone = trace(vgg(), (3, 32, 32))
    assert (here.resizes, here.classes, here.macs, here.returns) == (
        alone.resizes,
        alone.classes,
        alone.macs,
        alone.returns,
    )


def test_a_cost_model_runs_one_pass_less_with_a_survey(passes: list[tuple[int, ...]]) -> None:
    learned = dynpool.convert(vgg(), (3, 32, 32))
    survey = Survey(learned, (3, 32, 32))
    assert survey.at_input_size.all_macs == dynpool.count_macs(learned, (3, 32, 32)).total
    passes.clear()
    alone = CostModel(learned, (3, 32, 32))
    assert len(passes) == 5
    assert CostModel(learned, (3, 32, 32), survey=survey).macs() == alone.macs()
    assert len(passes) == 5 + 4


def test_where_maps_collapse_the_structure_is_traced_larger_and_the_rest_at_the_size_asked_for() -> None:
    model = nn.Sequential(vgg(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    survey = Survey(model, (3, 8, 8))
    assert survey.structure.input_size == (3, 16, 16)
    assert not survey.structure.collapsed
    assert survey.at_input_size.input_size == (3, 8, 8)
    assert sum(m.macs for m in survey.at_input_size.macs) == dynpool.count_macs(model, (3, 8, 8)).total


def test_modes_differ_where_training_resizes_otherwise() -> None:
    assert not Survey(vgg(), (3, 32, 32)).modes_differ
    survey = Survey(AuxiliaryHead(), (3, 32, 32))
    assert survey.modes_differ
    assert survey.structure.notes == ["head resizes in training mode only, and is left alone"]


def test_a_recorded_pass_knows_what_modules_return_as_a_shallow_one_does() -> None:
    model = dynpool.convert(vgg(), (3, 32, 32))
    shapes = trace_shapes(model, (3, 32, 32))
    returns = {at: shape for at, shape in shapes.items() if at[2] == tracer.RETURNS}
    assert trace(model, (3, 32, 32)).returns == returns
    assert returns["2", 0, tracer.RETURNS, 0] == ((), ((1, 4, 8, 8),))


def test_a_plain_network_is_converted_in_six_passes_of_which_two_are_recorded(
    passes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[int, ...]] = []
    start = tracer._Recorder.start

    def noted(recorder: tracer._Recorder, *args: Any) -> None:
        recorded.append(recorder.graph.size)
        start(recorder, *args)

    monkeypatch.setattr(tracer._Recorder, "start", noted)
    dynpool.convert(vgg(), (3, 32, 32))
    assert len(passes) == 6
    assert len(recorded) == 2
