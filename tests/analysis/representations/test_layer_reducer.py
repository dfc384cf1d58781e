"""One layer's outputs, reduced."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dynpool.analysis.representations.layer_reducer import Keep, LayerReducer, by


def reducer(module, output, *, maps=False, number=1, **changes):
    values: dict[str, Any] = {
        "features": True,
        "moments": True,
        "maps": frozenset("a" * maps),
        "grid": 4,
    }
    return LayerReducer(
        "a" if number == 1 else f"a#{number}", "a", module, output, Keep(**(values | {"most_positions": 16} | changes))
    )


def restated_cells(maps, grid):
    """Averages over windows from floor(i n / g) to ceil((i + 1) n / g), image by image."""
    images, channels, *extents = maps.shape
    cells = [min(n, grid) for n in extents]
    edges = [[(i * n // g, -(-(i + 1) * n // g)) for i in range(g)] for n, g in zip(extents, cells, strict=True)]
    found = np.empty((images, channels, *cells))
    for i, (top, bottom) in enumerate(edges[0]):
        for j, (left, right) in enumerate(edges[1]):
            found[:, :, i, j] = maps[:, :, top:bottom, left:right].mean((2, 3))
    return found.reshape(images, -1)


@pytest.mark.parametrize("extents", [(8, 8), (7, 10), (3, 5), (1, 1)])
def test_features_are_averages_of_the_cells(extents):
    output = torch.randn(5, 3, *extents)
    layer = reducer(nn.Conv2d(3, 3, 1), output)
    layer.take(output, {0: 4, 1: 0, 2: 2}, 10, 0)
    found = layer.result(3)
    kept = output.numpy()[[4, 0, 2]]
    np.testing.assert_allclose(found.features, restated_cells(kept, 4), rtol=1e-5, atol=1e-6)
    assert (found.channels, found.size, found.maps) == (3, extents, None)


@pytest.mark.parametrize("shape", [(2, 6), (2, 5, 6), (2, 3, 4, 6)])
def test_channels_of_a_linear_layer_come_last(shape):
    output = torch.randn(shape)
    layer = reducer(nn.Linear(6, 6), output)
    layer.take(output, {0: 0, 1: 1}, 2, 0)
    found = layer.result(2)
    assert (found.channels, found.size) == (6, shape[1:-1])
    samples = output.reshape(-1, 6).numpy()
    assert found.moments.samples == len(samples)
    np.testing.assert_allclose(found.moments.covariance, np.cov(samples.T, bias=True), rtol=1e-5, atol=1e-6)


def test_maps_are_kept_and_averaged_where_they_are_larger_than_asked():
    output = torch.randn(2, 3, 6, 4)
    whole = reducer(nn.Conv2d(3, 3, 1), output, maps=True, features=False)
    whole.take(output, {0: 1}, 2, 0)
    np.testing.assert_array_equal(whole.result(1).maps, output[1:].numpy())
    less = reducer(nn.Conv2d(3, 3, 1), output, maps=True, most_positions=3)
    less.take(output, {0: 1}, 2, 0)
    np.testing.assert_allclose(
        less.result(1).maps.reshape(1, -1), restated_cells(output[1:].numpy(), 3), rtol=1e-5, atol=1e-6
    )


def test_bytes_are_those_of_what_is_kept():
    output = torch.randn(4, 3, 8, 8)
    layer = reducer(nn.Conv2d(3, 3, 1), output, maps=True)
    layer.take(output, {i: i for i in range(4)}, 4, 0)
    found = layer.result(4)
    assert layer.bytes_per_image * 4 == found.features.nbytes + found.maps.nbytes
    assert layer.fixed_bytes > 0
    assert reducer(nn.Conv2d(3, 3, 1), output, moments=False).fixed_bytes == 0


def test_later_images_replace_earlier_ones():
    layer = reducer(nn.Linear(1, 1), torch.zeros(1, 1))
    layer.take(torch.tensor([[1.0], [2.0]]), {0: 0, 1: 1}, 2, 0)
    layer.take(torch.tensor([[3.0]]), {1: 0}, 2, 1)
    layer.take(torch.tensor([[9.0]]), {}, 2, 2)
    assert layer.result(2).features.tolist() == [[1], [3]]
    assert layer.result(2).moments.samples == 4


def test_a_later_run_has_a_number():
    assert reducer(nn.Linear(1, 1), torch.zeros(1, 1), number=2).name == "a#2"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (torch.zeros(2), r"shape \(2,\)"),
        (torch.zeros(2, 3, 4, 4, 4), r"shape \(2, 3, 4, 4, 4\)"),
        (torch.zeros(2, 3, dtype=torch.int64), r"shape \(2, 3\)"),
        ((torch.zeros(2, 3),), "a tuple"),
    ],
)
def test_outputs_that_are_no_activations(output, said):
    with pytest.raises(ValueError, match=f"layer 'a' gives {said}; allowed"):
        reducer(nn.Identity(), output)


def test_no_map_of_positions():
    with pytest.raises(ValueError, match=r"maps: layer 'a' gives shape .* no map of positions"):
        reducer(nn.Linear(3, 3), torch.zeros(2, 3), maps=True)


def test_another_size_and_values_that_are_not_finite():
    layer = reducer(nn.Conv2d(3, 3, 1), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"layer 'a' gives maps of different sizes, shape \(2, 3, 5, 4\) in batch 7"):
        layer.take(torch.zeros(2, 3, 5, 4), {}, 1, 7)
    for value in (float("nan"), float("-inf")):
        output = torch.zeros(2, 3, 4, 4)
        output[1, 2, 3, 0] = value
        with pytest.raises(ValueError, match="layer 'a' gives NaN or infinite activations in batch 3"):
            layer.take(output, {}, 1, 3)


def test_extents():
    assert by((3, 32, 16)) == "3x32x16"
