"""The plot of an effective field and the outline of the theoretical one."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from torch import nn

from dynpool.analysis import effective_receptive_field
from dynpool.analysis.comparison.plots import to_png


def test_effective_field_outlines_the_theoretical_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, 4, 5, padding=2))
    field = effective_receptive_field(model, (3, 24, 32))
    figure = field.plot()
    picture, height, width = figure.axes[:3]
    (outline,) = [patch for patch in picture.patches if isinstance(patch, Rectangle)]
    assert (outline.get_y(), outline.get_height()) == (field.region[0][0] - 0.5, 9)
    assert (outline.get_x(), outline.get_width()) == (field.region[1][0] - 0.5, 9)
    shown = np.asarray(picture.get_images()[0].get_array())
    np.testing.assert_allclose(shown, field.gradient / field.gradient.max())
    for panel, line in zip((height, width), field.projection, strict=True):
        np.testing.assert_array_equal(panel.lines[0].get_ydata(), line)


def test_effective_field_of_one_and_of_three_axes():
    line = effective_receptive_field(nn.Sequential(nn.Conv1d(1, 2, 5), nn.Conv1d(2, 2, 5)), (1, 64), samples=2)
    assert len(line.gradient) == 64
    assert len(to_png(line.plot(), dpi=40)) > 1000
    volume = effective_receptive_field(nn.Sequential(nn.Conv3d(1, 2, 3)), (1, 8, 8, 8), samples=2)
    assert 2 < volume.size <= 3
    with pytest.raises(ValueError, match="for 1 or 2 spatial axes, this one has 3"):
        volume.plot()
