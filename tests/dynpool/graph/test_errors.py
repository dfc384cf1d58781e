"""A pass that fails says as data which operation, which module and which error it was."""

import pickle

import pytest
import torch
from torch import Tensor, nn

import dynpool


class Picky(nn.Module):
    """Refuses in its own code, or in an operation."""

    def __init__(self, *, own: bool) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        if self.own:
            raise KeyError("no such size")
        return x @ torch.zeros(5, 5)


def failure(model: nn.Module) -> dynpool.TraceError:
    with pytest.raises(dynpool.TraceError) as caught:
        dynpool.convert(model, (3, 8, 8))
    return caught.value


def test_the_operation_the_module_and_the_cause_are_named() -> None:
    error = failure(nn.Sequential(nn.MaxPool2d(2), nn.Sequential(nn.Conv2d(4, 8, 3))))
    assert (error.op, error.path) == ("aten.convolution", "1.0")
    assert isinstance(error.cause, RuntimeError)
    assert error.cause is error.__cause__
    assert error.reason == f"RuntimeError in 1.0: {error.cause}"


def test_an_error_of_the_models_own_code_names_no_operation() -> None:
    error = failure(nn.Sequential(nn.MaxPool2d(2), Picky(own=True)))
    assert (error.op, error.path, type(error.cause)) == ("", "1", KeyError)
    error = failure(Picky(own=False))
    assert (error.op, error.path) == ("aten.mm", "")
    assert error.reason.startswith("RuntimeError in Picky: ")


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_missing_arguments_and_a_wrong_number_of_channels_are_hinted_at() -> None:
    assert str(failure(Pair())).endswith("argument: 'y'; give all arguments of its forward as inputs=(...)")
    grey = failure(nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2)))
    assert str(grey).endswith("; 0 takes 1 channel, and input_size begins with 3")
    assert "inputs=" not in str(failure(Picky(own=True)))
    later = failure(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(8, 4, 3)))  # the network's own mistake
    assert "takes" not in str(later)
    assert str(pickle.loads(pickle.dumps(grey))) == str(grey)
    with pytest.raises(dynpool.TraceError) as caught:
        dynpool.count_macs(Pair(), (3, 8, 8), inputs=(torch.ones(1, 3, 8, 8),))
    assert "inputs=" not in str(caught.value)  # they are given


def test_a_forward_without_a_signature_fails_with_its_own_error() -> None:
    model = nn.Sequential(nn.MaxPool2d(2))
    model.forward = torch.bmm  # type: ignore[assignment]
    with pytest.raises(dynpool.TraceError, match="TypeError in Sequential: bmm"):
        dynpool.count_macs(model, (3, 8, 8))
    with pytest.raises(dynpool.TraceError, match="TypeError in Sequential: bmm"):
        dynpool.convert(model, inputs=torch.ones(1, 3, 8, 8))


def test_it_is_a_value_error_whose_message_survives_a_pickle() -> None:
    error = failure(Picky(own=True))
    assert isinstance(error, ValueError)
    assert str(error).startswith("the model cannot run at input_size=(3, 8, 8) (tried with a batch of 1 image)")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.op, again.path) == (str(error), error.op, error.path)
