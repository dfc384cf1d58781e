"""Values of a configuration's sections are taken up to their limits and refused beyond them, with the key."""

import math

import pytest

from dynpool.training.config_sections import (
    ConversionConfig,
    DataConfig,
    DiffStrideConfig,
    RandomConfig,
    ShapeAdaptorConfig,
    require,
)
from dynpool.training.errors import ConfigError


@pytest.mark.parametrize(
    ("section", "name", "taken", "refused"),
    [
        (DataConfig, "resolution", [4, 4096], [3, 4097]),
        (DataConfig, "channels", [None, 1, 3], [2]),
        (DataConfig, "validation", [None, 1e-9, 1 - 1e-9, 1, 50], [0, -0.5, 1.5, math.inf, math.nan]),
        (DataConfig, "test_fraction", [1e-9, 1 - 1e-9], [0, 1, math.nan]),
        (DataConfig, "shift", [0, 0.125, 1 - 1e-9, 1, 31], [-1, -0.1, 1.5, 32, math.inf, math.nan]),
        (DataConfig, "detail", [None], [8]),
        (ConversionConfig, "max_gmacs", [None, 1e-9], [0, math.inf, math.nan]),
        (ShapeAdaptorConfig, "every", [1], [0]),
        (ShapeAdaptorConfig, "limit", [None, 1], [0.9, math.nan]),
        (DiffStrideConfig, "smoothness", [1e-9], [0, math.inf, math.nan]),
        (RandomConfig, "spread", [1.001], [1, math.inf, math.nan]),
    ],
)
def test_values_at_the_limits_are_taken_and_those_beyond_are_refused(section, name, taken, refused):
    for value in taken:
        assert getattr(section(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ConfigError, match=f"{name} is .*; allowed: ") as error:
            section(**{name: value})
        assert error.value.key is not None
        assert error.value.key.endswith(f".{name}")


@pytest.mark.parametrize(
    ("variant", "multiple"), [("plain", 1), ("stretch", 1), ("tile", 4), ("large", 2), ("canvas", 2)]
)
def test_a_variant_needs_sides_that_it_can_halve(variant, multiple):
    for side in range(4, 20):
        if side % multiple == 0:
            DataConfig(resolution=side, variant=variant)
        else:
            with pytest.raises(ConfigError, match=f"data.resolution is {side}; allowed: a multiple of {multiple} for"):
                DataConfig(resolution=side, variant=variant)


@pytest.mark.parametrize("variant", ["large", "canvas"])
def test_with_a_detail_a_variant_need_not_halve_its_side(variant):
    for detail in (1, 15):
        assert DataConfig(resolution=15, variant=variant, detail=detail).detail == detail
    for detail in (0, 16):
        with pytest.raises(
            ConfigError, match=f"data.detail is {detail}; allowed: null, or a whole number from 1 to the resolution"
        ):
            DataConfig(resolution=15, variant=variant, detail=detail)


@pytest.mark.parametrize("variant", ["plain", "stretch", "tile"])
def test_other_variants_have_no_detail(variant):
    with pytest.raises(ConfigError, match=f"data.detail is 8; allowed: null for the variant '{variant}'"):
        DataConfig(resolution=16, variant=variant, detail=8)


def test_a_shift_is_in_pixels_or_a_fraction_of_the_resolution():
    assert [DataConfig(resolution=side, shift=0.125).shift_pixels for side in (32, 64, 224)] == [4, 8, 28]
    assert [DataConfig(resolution=side, shift=4).shift_pixels for side in (32, 224)] == [4, 4]
    assert DataConfig().shift_pixels == 0


def test_a_value_is_shown_as_it_is_written_in_a_file():
    with pytest.raises(ConfigError, match=r"input_size is \[3, 9\]; allowed: three numbers"):
        require("input_size", (3, 9), False, "three numbers")


def test_the_symmetric_window_is_not_published():
    assert DiffStrideConfig(published=True).published
    with pytest.raises(ConfigError, match=r"diffstride\.published is True; allowed: false where"):
        DiffStrideConfig(published=True, symmetric=True)
