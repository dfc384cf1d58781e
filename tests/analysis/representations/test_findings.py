"""The sentence on the observed and the predicted tail."""

import pytest

from tests.analysis.representations.reports import report
from tests.analysis.representations.small import row


@pytest.mark.parametrize(
    ("fields", "accuracies", "said"),
    [
        ((1, 6, 14, 22), (0.5, 0.9, 0.9, 0.9),
         "the tail has 2 layers, from 2 on; the receptive field at 12 pixels predicts 2 layers, "
         "from 2 on"),
        ((1, 6, 8, 22), (0.5, 0.6, 0.9, 0.9),
         "the tail has 1 layer, 3; the receptive field at 12 pixels predicts 1 layer, 3"),
        ((1, 6, 8, 10), (0.5, 0.6, 0.7, 0.9),
         "there is no tail, every layer adds to the solution; the receptive field at 12 pixels predicts none"),
        ((1, 6, 8, 12), (None,) * 4,
         "the tail was not measured; the receptive field at 12 pixels predicts 1 layer, 3"),
    ],
)  # fmt: skip
def test_verdict(fields, accuracies, said):
    rows = [
        row(str(i), r_min_in=(field, field), accuracy=accuracy, relative=accuracy)
        for i, (field, accuracy) in enumerate(zip(fields, accuracies, strict=True))
    ]
    assert report(*rows).verdict == said
