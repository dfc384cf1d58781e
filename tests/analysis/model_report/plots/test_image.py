"""The plots of a receptive-field report show its numbers: what was drawn is read back."""

import re

import numpy as np
import pytest
import torch
import torchvision
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image
from torch import nn

import dynpool
from dynpool.analysis import effective_receptive_field, receptive_field
from dynpool.analysis.common.style import path_end
from dynpool.analysis.comparison.plots import to_png
from dynpool.analysis.model_report.plots.marks import FILLS


@pytest.fixture(scope="module")
def vgg():
    """At 32 pixels features.12 is underutilized and all behind it is unproductive."""
    with torch.device("meta"):
        return receptive_field(torchvision.models.vgg16(), (3, 32, 32))


@pytest.fixture(scope="module")
def learned():
    model = dynpool.convert(torchvision.models.resnet18(), (3, 64, 64))
    with torch.no_grad():
        for index, resolution in enumerate(dynpool.resolutions(model).values()):
            resolution.alpha.copy_(torch.tensor([1.4 + 0.2 * index, 1.9 - 0.1 * index]))
    return receptive_field(model, (3, 64, 64))


@pytest.fixture(scope="module")
def one_axis():
    model = nn.Sequential(nn.Conv1d(1, 4, 7, stride=2), nn.MaxPool1d(3), nn.Conv1d(4, 4, 9, dilation=2))
    return receptive_field(model, (1, 256))


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
    assert figure.axes[0].get_title("left") == "2 of 28 layers are underutilized at 64×64 pixels"


@pytest.mark.parametrize(
    ("layers", "size", "said"),
    [
        (1, 32, "The only layer is productive at 32×32 pixels"),
        (2, 32, "All 2 layers are productive at 32×32 pixels"),
        (2, 4, "1 of 2 layers is underutilized at 4×4 pixels"),
    ],
)
def test_titles_count_unproductive_and_underutilized_layers(layers, size, said):
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(layers)))
    figure = receptive_field(model, (3, size, size)).plot("network")
    assert said in [text.get_text() for text in figure.axes[0].texts]


def test_fields_marks_the_unproductive_zone(vgg):
    (panel,) = vgg.plot("fields").axes
    title = "10 of 18 layers are unproductive at 32×32 pixels, 1 more is underutilized"
    assert panel.get_title("left") == title
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


def boxes(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def test_network_has_a_coloured_box_per_layer(vgg):
    figure = vgg.plot("network")
    colors = [to_hex(box.get_facecolor()).upper() for box in boxes(figure)]
    marks = ["unproductive" if n in vgg.unproductive else "underutilized" if n in vgg.underutilized else ""
             for n in (row.name for row in vgg.layers)]  # fmt: skip
    assert colors == [FILLS[mark].upper() for mark in marks]
    texts = [text.get_text() for text in figure.axes[0].texts]
    for row in vgg.layers:
        assert row.name in texts
        assert f"r {row.r_min[0]:g}" in texts


@pytest.fixture(scope="module")
def bottlenecks():
    """With names of wide letters, such as layer1.0.downsample.0."""
    with torch.device("meta"):
        return receptive_field(torchvision.models.resnet50(), (3, 64, 64))


@pytest.mark.parametrize("report", ["vgg", "learned", "one_axis", "bottlenecks"])
def test_network_keeps_boxes_apart_and_words_inside(report, request):
    report = request.getfixturevalue(report)
    figure = report.plot("network")
    figure.set_dpi(200)  # as it is written to files
    figure.canvas.draw()
    places = [box.get_window_extent() for box in boxes(figure)]
    assert len(places) == len(report.layers)
    for index, place in enumerate(places):
        assert not any(place.overlaps(other) for other in places[index + 1 :])
        assert place.x0 > 0
        assert place.x1 < figure.bbox.x1
        assert place.y0 > 0
    words = [
        text.get_window_extent() for text in figure.axes[0].texts if text.get_text() in {r.name for r in report.layers}
    ]
    room = 4  # pixels on either side
    for word in words:
        assert any(
            p.x0 + room <= word.x0 and word.x1 <= p.x1 - room and p.y0 <= word.y0 and word.y1 <= p.y1 for p in places
        )


def test_dot_text_has_every_layer_and_edge(vgg):
    text = vgg.to_dot()
    assert text.startswith("digraph network {")
    assert text.rstrip().endswith("}")
    assert len(re.findall(r"n\d+ -> n\d+;", text)) == len(vgg.edges), "a chain has no junctions"
    for row in vgg.layers:
        (line,) = [line for line in text.splitlines() if f'label="{row.name}\\n' in line]
        assert ('fillcolor="#A50F15"' in line) == (row.name in vgg.unproductive)
    assert text.count('tooltip="underutilized"') == len(vgg.underutilized) - len(vgg.unproductive)


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


def test_bad_pictures(tmp_path, vgg, one_axis):
    with pytest.raises(ValueError, match="unknown plot kind 'feilds'; did you mean 'fields'"):
        vgg.plot("feilds")
    with pytest.raises(ValueError, match=r"layers has 'features\.99': the model has no such layer; did you mean"):
        vgg.plot("image", layers=["features.99"])
    with pytest.raises(ValueError, match="layers must name one to 6 layers, got 7"):
        vgg.plot("image", layers=[row.name for row in vgg.layers[:7]])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png', which cannot be read"):
        vgg.plot("image", image=tmp_path / "text.png")
    with pytest.raises(ValueError, match=r"image must have the shape .* got \(3, 4, 5\)"):
        vgg.plot("image", image=np.zeros((3, 4, 5)))
    with pytest.raises(ValueError, match="drawn on an image for 2 spatial axes only, this model has 1"):
        one_axis.plot("image")


def test_one_and_three_axes_have_pictures_too(one_axis):
    assert len(to_png(one_axis.plot("fields"), dpi=40)) > 1000
    volume = receptive_field(nn.Sequential(nn.Conv3d(1, 2, (1, 3, 5)), nn.Conv3d(2, 2, 3)), (1, 8, 16, 16))
    figure = volume.plot("fields")
    assert [panel.get_ylabel() for panel in figure.axes] == [
        f"receptive field, {axis} (pixels)" for axis in ("depth", "height", "width")
    ]


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


def test_path_end():
    assert path_end("layer1.0.conv1", 14) == "layer1.0.conv1"
    assert path_end("features.denseblock1.denselayer5.conv2", 20) == "…denselayer5.conv2"
    assert len(path_end("a_single_part_that_is_far_too_long", 12)) <= 12
