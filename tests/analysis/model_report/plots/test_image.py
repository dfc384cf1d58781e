"""Fields drawn on an image: to scale, at their places, the image cut to the input."""

import numpy as np
import pytest
from PIL import Image
from torch import nn

from dynpool.analysis import receptive_field


def drawn(figure):
    return [
        (patch.get_y() + 0.5, patch.get_y() + patch.get_height() - 0.5, patch.get_x() + 0.5,
         patch.get_x() + patch.get_width() - 0.5, patch.get_linestyle())
        for patch in figure.axes[0].patches
    ]  # fmt: skip


def test_image_draws_regions_to_scale():
    model = nn.Sequential(nn.Conv2d(3, 4, (3, 5), padding=(1, 2)), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    report = receptive_field(model, (3, 32, 48))
    figure = report.plot("image", layers=["0", "2"], image=np.zeros((8, 8)))
    (a, b) = drawn(figure)
    assert a[:4] == pytest.approx((15, 17, 22, 26))
    (y0, y1), (x0, x1) = report.layers[2].region((8, 12))
    assert b[:4] == pytest.approx((y0, y1, x0, x1))
    picture = figure.axes[0].get_images()[0]
    assert list(picture.get_extent()) == [-0.5, 47.5, 31.5, -0.5]
    assert np.asarray(picture.get_array()).shape == (32, 48, 3)
    left, right = figure.axes[0].get_xlim()
    bottom, top = figure.axes[0].get_ylim()
    box = figure.axes[0].get_window_extent()
    assert box.width / (right - left) == pytest.approx(box.height / (bottom - top)), "pixels are square"


def test_image_shows_the_shortest_path_where_the_longest_is_global():
    class Gate(nn.Module):
        def forward(self, x):
            return x * x.mean((2, 3), keepdim=True)

    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Gate(), nn.Conv2d(4, 4, 5, padding=2))
    report = receptive_field(model, (3, 20, 20))
    (only,) = drawn(report.plot("image", layers=["2"], image=np.zeros((8, 8, 3), dtype=np.uint8)))
    assert only[:4] == pytest.approx((7, 13, 7, 13))
    assert only[4] == "--" or only[4][0] == 0


def test_image_from_a_file_is_cut_to_the_input(tmp_path, vgg):
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, 20:60] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    figure = vgg.plot("image", image=tmp_path / "a.png")
    shown = np.asarray(figure.axes[0].get_images()[0].get_array())
    assert shown[:, 1:-1].min() == 255, "the middle square, which is white"
    default = np.asarray(vgg.plot("image").axes[0].get_images()[0].get_array())
    assert default.shape == (32, 32, 3)
    assert default.std() > 20, "a photograph"


def test_an_image_of_a_large_input_is_drawn_smaller():
    """A slide of a million pixels a side: its array would have three terabytes."""
    report = receptive_field(nn.Conv2d(3, 4, 3, device="meta"), (3, 1_000_000, 500_000))
    (drawn,) = report.plot("image").axes[0].get_images()
    assert np.asarray(drawn.get_array()).shape == (4096, 2048, 3)
    assert list(drawn.get_extent()) == [-0.5, 499_999.5, 999_999.5, -0.5]
