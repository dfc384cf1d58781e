"""What a row says of the gradient beside the loss differences."""

import math

import pytest

from tests.analysis.sensitivity.rows import row


@pytest.mark.parametrize(
    ("gradient", "slope", "agrees"),
    [
        ((-0.5, 0.1), (-0.2, 0.1), True),
        ((0.5, 0.1), (0.2, 0.1), True),
        ((0.5, 0.1), (-0.2, 0.1), False),
        ((0.0, 0.1), (-0.2, 0.1), None),
        ((0.5, 0.1), (0.0, 0.1), None),
        ((math.nan, None), (0.2, 0.1), None),
        ((0.5, 0.1), (math.inf, None), None),
        (None, (0.2, 0.1), None),
        ((0.5, 0.1), None, None),
    ],
)
def test_agreement_is_that_of_signs(gradient, slope, agrees):
    assert row(gradient=gradient, slope=slope).agrees is agrees


def test_signal_to_noise_is_that_of_a_batch():
    assert row(gradient=(-0.5, 0.25)).snr == 2.0
    assert row(gradient=(-0.5, None)).snr is row(gradient=(0.0, 0.0)).snr is row(gradient=None).snr is None


def test_clear_rows_have_intervals_that_exclude_zero():
    """Student's t with 3 degrees of freedom: 3.182 standard errors."""
    error = 0.1 / math.sqrt(4)
    assert row(gradient=(3.19 * error, 0.1), slope=(-3.19 * error, 0.1), n=4).clear
    assert not row(gradient=(3.17 * error, 0.1), slope=(-3.19 * error, 0.1), n=4).clear
    assert not row(gradient=(3.19 * error, 0.1), slope=None).clear
    assert not row(gradient=(1.0, None), slope=(1.0, None), n=1).clear


def test_plain_data():
    found = row().to_dict()
    assert found["differences"]["+1"] == {"mean": 0.1, "std": 0.02, "error": 0.01}
    assert found["unreachable"] == {"-2": "too small", "+2": "too small"}
    assert (found["snr"], found["agrees"], found["size"]) == (1.0, True, [8, 9])
    assert row(gradient=None).to_dict()["gradient"] is None
