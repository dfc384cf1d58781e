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
        (DataConfig, "shift", [0, 31], [-1, 32]),
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


def test_a_value_is_shown_as_it_is_written_in_a_file():
    with pytest.raises(ConfigError, match=r"input_size is \[3, 9\]; allowed: three numbers"):
        require("input_size", (3, 9), False, "three numbers")
