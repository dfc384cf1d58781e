"""A size without rounding is the pixels at strides of 1, divided by learned strides."""

from dynpool.graph.smooth import Smooth


def test_it_is_multiplied_and_divided_but_has_no_borders() -> None:
    size = (Smooth(35.0) * 0.5).over(2).over(0)
    assert size == Smooth(17.5, (2, 0))
    assert size + 3 == size - 3 == size
