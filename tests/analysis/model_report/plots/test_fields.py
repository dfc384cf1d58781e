"""The plot of fields: r_min, r_max and I_res of every layer are read back."""

import numpy as np
import pytest
import torch
import torchvision
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.analysis.common.colors import FILLS
from dynpool.analysis.common.style import path_end
from dynpool.analysis.comparison.plots import to_png


def heights(line):
    """The y of a line's points."""
    return [float(y) for y in np.asarray(line.get_ydata())]


def test_fields_draws_r_min_r_max_and_the_resolution(learned):
    figure = learned.plot()
    assert len(figure.axes) == 2, "height and width differ"
    for axis, panel in enumerate(figure.axes):
        dots = [line.get_xydata()[0] for line in panel.lines if line.get_marker() == "o"]
        assert [y for _, y in dots] == pytest.approx([row.r_min[axis] for row in learned.layers])
        reach = [
            line.get_ydata()[1] for line in panel.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2
        ]
        assert reach[: len(dots)] == pytest.approx([row.r_max[axis] for row in learned.layers])
        assert [set(line.get_ydata()) for line in panel.lines if line.get_linestyle() == "--"] == [{64}]
    names = [text.get_text() for text in figure.axes[-1].get_xticklabels()]
    assert names == [path_end(row.name, 26) for row in learned.layers]
    assert len(learned.underutilized) == 2
    assert figure.legends[0].get_title().get_text() == "2 of 28 layers are underutilized at 64×64 pixels"


def test_fields_marks_the_unproductive_zone(vgg):
    figure = vgg.plot("fields")
    (panel,) = figure.axes
    title = "10 of 18 layers are unproductive at 32×32 pixels, 1 more is underutilized"
    assert figure.legends[0].get_title().get_text() == title
    spans = {round(p.get_x() + 0.5): to_hex(p.get_facecolor()) for p in panel.patches if isinstance(p, Rectangle)}
    names = [row.name for row in vgg.layers]
    expected = {names.index(name): FILLS["underutilized"] for name in vgg.underutilized}
    expected |= {names.index(name): FILLS["unproductive"] for name in vgg.unproductive}
    assert spans == {index: color.lower() for index, color in expected.items()}


def test_a_triangle_marks_layers_with_a_global_path():
    with torch.device("meta"):
        report = receptive_field(torchvision.models.efficientnet_b0(), (3, 64, 64))
    (panel,) = report.plot("fields").axes
    triangles = {round(np.asarray(line.get_xdata())[0]) for line in panel.lines if line.get_marker() == "^"}
    assert triangles == {i for i, row in enumerate(report.layers) if row.has_global_path}
    tops = [ys[1] for ys in map(heights, panel.lines) if len(ys) == 2]
    assert report.i_max_local[0] in tops
    assert max(tops) < panel.get_ylim()[1]


def test_one_and_three_axes_have_pictures_too(one_axis):
    assert len(to_png(one_axis.plot("fields"), dpi=40)) > 1000
    volume = receptive_field(nn.Sequential(nn.Conv3d(1, 2, (1, 3, 5)), nn.Conv3d(2, 2, 3)), (1, 8, 16, 16))
    figure = volume.plot("fields")
    assert [panel.get_ylabel() for panel in figure.axes] == [
        f"receptive field, {axis} (pixels)" for axis in ("depth", "height", "width")
    ]
