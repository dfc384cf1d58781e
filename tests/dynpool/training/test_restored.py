"""Networks of finished runs."""

import pytest

from dynpool.training.models import narrow_vgg
from dynpool.training.restored import PROBE, _classes


@pytest.mark.parametrize("widths", [[4, 8], [PROBE, 16], [10, PROBE]])
def test_classes_are_told_from_layers_of_the_same_width(widths):
    trained = narrow_vgg(10, 1, widths=widths).state_dict()
    assert _classes(narrow_vgg(PROBE, 1, widths=widths), trained) == 10
