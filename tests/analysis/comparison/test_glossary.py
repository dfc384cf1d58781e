import pytest

from analysis.common.axis_names import axis_names
from analysis.common.metric import ACCURACY, MIOU
from analysis.comparison.glossary import glossary


@pytest.mark.parametrize(
    ("axes", "order", "strides"),
    [
        (1, "Length in pixels", "one for the length of"),
        (2, "Height × width in pixels", "one for the height and one for the width of"),
        (3, "Depth × height × width in pixels", "one for the depth and one for the height and one for the width of"),
    ],
)
def test_terms_of_sizes_name_the_axes_of_the_input(axes, order, strides):
    terms = glossary(ACCURACY, axis_names(axes))
    assert terms["I_min"].endswith(order + ".")
    assert strides in terms["Stride"]


def test_miou_is_explained_where_it_judges():
    assert MIOU.title in glossary(MIOU, axis_names(2))
    assert MIOU.title not in glossary(ACCURACY, axis_names(2))
