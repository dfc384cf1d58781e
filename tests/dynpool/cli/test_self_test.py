"""The self-test passes with the operator as it is and finds a wrong result, a wrong gradient and an error."""

import pytest
import torch

import dynpool
from dynpool.cli import self_test as module
from dynpool.cli.self_test import self_test

CPU = [torch.device("cpu")]


@pytest.fixture(autouse=True)
def only_float32(monkeypatch):
    monkeypatch.setattr(module, "TOLERANCES", {torch.float32: module.TOLERANCES[torch.float32]})
    monkeypatch.setattr(module, "LAYOUTS", {"contiguous": torch.contiguous_format})


def test_the_operator_passes():
    (check,) = self_test(CPU)
    assert (check.device, check.dtype, check.layout, check.error) == ("cpu", "float32", "contiguous", "")
    assert check.passed
    assert check.alpha_gradient is not None
    assert 0 < check.alpha_gradient < check.tolerance == check.to_dict()["tolerance"]


class Wrong(torch.autograd.Function):
    """The identity, but for the gradient, which is 1 % too large."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, dy):
        return 1.01 * dy


@pytest.mark.parametrize("fault", ["output", "gradient", "alpha_gradient"])
def test_a_fault_of_one_percent_fails(fault, monkeypatch):
    right = dynpool.dynopool2d

    def faulty(x, alpha, reduce):
        if fault == "output":
            return right(x, alpha, reduce=reduce) + 0.01
        return right(
            Wrong.apply(x) if fault == "gradient" else x,
            Wrong.apply(alpha) if fault == "alpha_gradient" else alpha,
            reduce=reduce,
        )

    monkeypatch.setattr(dynpool, "dynopool2d", faulty)
    (check,) = self_test(CPU)
    assert not check.passed
    assert [k for k in ("output", "gradient", "alpha_gradient") if getattr(check, k) > check.tolerance] == [fault]


def test_an_error_is_told_and_fails(monkeypatch):
    def broken(x, alpha, reduce):
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(dynpool, "dynopool2d", broken)
    (check,) = self_test(CPU)
    assert not check.passed
    assert check.error == "RuntimeError: no kernel image is available"


def test_values_that_are_not_finite_fail(monkeypatch):
    right = dynpool.dynopool2d
    monkeypatch.setattr(dynpool, "dynopool2d", lambda x, alpha, reduce: right(x, alpha, reduce=reduce) * float("nan"))
    (check,) = self_test(CPU)
    assert check.output == float("inf")
    assert not check.passed
