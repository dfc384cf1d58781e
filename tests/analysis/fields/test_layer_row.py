"""A row of the report: the region of a position follows from its centre, stride and field."""

import dataclasses
import math

import pytest

from dynpool.analysis.fields.layer_row import LayerRow, per_axis

INF = math.inf
ROW = LayerRow(
    name="conv", kind="convolution", kernel=(3, 5), stride=(2, 1), r_min_in=(1, 1), r_min=(3, 5), r_max=(3, 5),
    r_max_local=(3, 5), effective_stride=(2, 1.5), effective_padding=(1, 2), centre=(0, 0), aligned=True,
    shape=(1, 4, 8, 8), macs=0, parameters=0, input_shape=(1, 3, 8, 8), activation_bytes=0, weight_bytes=0,
)  # fmt: skip


def test_regions_lie_around_their_centre_and_move_by_the_effective_stride() -> None:
    assert ROW.region((0, 0)) == ((-1, 1), (-2, 2))
    assert ROW.region((3, 2)) == ((5, 7), (1, 5))
    assert ROW.region(1) == ((1, 3), (0, 3))  # at 1.5 pixels, from -0.5 to 3.5
    for position in range(8):
        for (first, last), r in zip(ROW.region(position), ROW.r_max, strict=True):
            assert last - first + 1 <= r


def test_a_global_axis_is_seen_without_end_and_one_of_the_paths_makes_it_so() -> None:
    row = dataclasses.replace(ROW, r_max=(INF, 5))
    assert row.region(0) == ((-INF, INF), (-2, 2))
    assert row.has_global_path
    assert not ROW.has_global_path


@pytest.mark.parametrize("bad", [(1, 2, 3), (1,), 1.5, (1, 2.0), "ab"])
def test_a_position_has_an_int_for_each_axis(bad: object) -> None:
    with pytest.raises(ValueError, match=r"position must be one or 2 ints \(one per axis\), got"):
        ROW.region(bad)  # type: ignore[arg-type]


def test_one_value_stands_for_all_axes_and_has_its_limit() -> None:
    assert per_axis("crop", 4, 3, least=1) == (4, 4, 4)
    assert per_axis("crop", [4, 5], 2) == (4, 5)
    with pytest.raises(ValueError, match=r"crop must be one or 2 ints of at least 1 \(one per axis\), got \(4, 0\)"):
        per_axis("crop", (4, 0), 2, least=1)
